-- retry.lua puts an entry that was set aside back into its inbox.
--
-- A receipt that says "rejected" is taken back, because it would make the entry a
-- repeat. Any other receipt stands.
-- Uses step.lua, rejected.lua
--
-- KEYS[1] rejected  STREAM  the entries that the service set aside
-- KEYS[2] inbox     STREAM  the inbox the entry came from
-- KEYS[3] events    STREAM  the log
-- KEYS[4] receipts  HASH    request -> receipt, this page; absent where no request id can be told
-- KEYS[5] older     HASH    request -> receipt, the page before; absent likewise
--
-- ARGV[1] id       the id of the entry that was set aside
-- ARGV[2] request  the entry's request id; "" where it has none
--
-- Returns "unknown"   no such entry is set aside: nothing was done
--         "not_kept"  the entry's fields were too large to keep, or trimmed away: nothing was done
--         otherwise the id of the new entry in the inbox
-- Emits   one "retried"
-- Faults  NOPERM  the Redis user may not run one of the script's commands; nothing was written
local rejected = KEYS[1]
local inbox = KEYS[2]
local events = KEYS[3]
local receipts = KEYS[4]
local older = KEYS[5]
local id = ARGV[1]
local request = ARGV[2]

-- Read.
need('XADD', events, '*', '', '') need('XDEL', rejected, '0-0')
if request ~= '' then need('HDEL', receipts, '') need('HDEL', older, '') end
call('XLEN', inbox)
call('XLEN', events)
local entry = call('XRANGE', rejected, id, id)[1]
if not entry then return 'unknown' end
local fields = {}
for i = 1, #entry[2], 2 do
  if string.sub(entry[2][i], 1, 1) == '.' then
    fields[#fields + 1] = string.sub(entry[2][i], 2)
    fields[#fields + 1] = entry[2][i + 1]
  end
end
if #fields == 0 then return 'not_kept' end
local standing = find_receipt(receipts, older, request)

-- Write.
local new = call('XADD', inbox, '*', unpack(fields))
call('XADD', events, '*', 'event', 'retried', 'stream', inbox, 'entry', new, 'rejected', id)
if standing and string.find(standing, '"outcome":"rejected"', 1, true) then
  call('HDEL', receipts, request)
  call('HDEL', older, request)
end
call('XDEL', rejected, id)
return new
