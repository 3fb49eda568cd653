-- reject.lua sets an entry aside that could not be understood or applied.
-- Uses step.lua, receipts.lua, rejected.lua
--
-- KEYS[1] instance  STRING  the lock of the instance that calls
-- KEYS[2] inbox     STREAM  the inbox the entry was read from
-- KEYS[3] terms     HASH    the terms the library lends by
-- KEYS[4] rejected  STREAM  the entries that the service set aside
-- KEYS[5] events    STREAM  the log
-- KEYS[6] receipts  HASH    request -> receipt, this page; absent where no request id can be told
-- KEYS[7] older     HASH    request -> receipt, the page before; absent likewise
-- KEYS[8] page      STRING  exists until this page is full; absent likewise
--
-- ARGV[1] token         the token in the instance's lock
-- ARGV[2] name          the instance's name, under which the entry is pending
-- ARGV[3] group         the group that reads the inbox
-- ARGV[4] rejected_max  about how many entries are kept set aside
-- ARGV[5] id            the entry's id
-- ARGV[6] reason        why it is set aside
-- ARGV[7] request       the request id; "" where none can be told
-- ARGV[8] text          the receipt that says so; "" without a request id
-- ARGV[9] bell          the channel on which to ring; "" for none
-- ARGV[10...] the entry's own fields and values, each name with a dot before it
--
-- Returns "gone"      it is not pending for this instance: nothing was done
--         "rejected"  it was set aside; a receipt that stood before still stands
-- Emits   one "rejected"
-- Faults  FENCED  the instance no longer holds its name; nothing was written
--         NOPERM  the Redis user may not run one of the script's commands; nothing was written
local instance = KEYS[1]
local inbox = KEYS[2]
local terms = KEYS[3]
local rejected = KEYS[4]
local events = KEYS[5]
local receipts = KEYS[6]
local older = KEYS[7]
local page = KEYS[8]
local token = ARGV[1]
local name = ARGV[2]
local group = ARGV[3]
local rejected_max = ARGV[4]
local id = ARGV[5]
local reason = ARGV[6]
local request = ARGV[7]
local text = ARGV[8]
local bell = ARGV[9]

-- Read.
local fault = fenced(instance, token)
if fault then return fault end
need('XADD', rejected, '*', '', '') need_done(inbox, group)
local pages = { receipts = receipts, older = older, page = page }
if request ~= '' then need('HSET', receipts, '', '') need('PEXPIRE', receipts, '0') need_turn(pages) end
if bell ~= '' then need('PUBLISH', bell, '') end
if #call('XPENDING', inbox, group, id, id, '1', name) == 0 then return 'gone' end
call('XLEN', rejected)
call('XLEN', events)
local log_max = log_kept(terms)
local standing = find_receipt(receipts, older, request)
local full = request ~= '' and not standing and call('EXISTS', page) == 0
pages.lives = request ~= '' and call('PTTL', receipts)
local receipt_ms = tonumber(call('HGET', terms, 'receipt_ms')) or 600000 -- the least there is

-- Write. The entry itself goes, although an older one may still be pending.
set_aside(events, log_max, name, rejected, rejected_max, inbox, id, reason, text, unpack(ARGV, 10))
if full then turn(pages, name, receipt_ms) end
if request ~= '' and not standing then
  call('HSET', receipts, request, text)
  keep(pages, receipt_ms)
end
if bell ~= '' then call('PUBLISH', bell, standing or text) end
call('XDEL', inbox, id)
done(inbox, group, { id })
return 'rejected'
