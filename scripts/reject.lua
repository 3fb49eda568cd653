-- reject.lua sets an entry aside that could not be understood or applied.
--
-- KEYS[1] instance  STRING  the lock of the instance that calls
-- KEYS[2] inbox     STREAM  the inbox the entry was read from
-- KEYS[3] rejected  STREAM  the entries that the service set aside
-- KEYS[4] events    STREAM  the log
-- KEYS[5] receipts  HASH    request -> receipt, this page; absent where no request id can be told
-- KEYS[6] older     HASH    request -> receipt, the page before; absent likewise
--
-- ARGV[1] token         the token in the instance's lock
-- ARGV[2] name          the instance's name, under which the entry is pending
-- ARGV[3] group         the group that reads the inbox
-- ARGV[4] log_max       about how many entries the log keeps
-- ARGV[5] rejected_max  about how many entries are kept set aside
-- ARGV[6] id            the entry's id
-- ARGV[7] reason        why it is set aside
-- ARGV[8] request       the request id; "" where none can be told
-- ARGV[9] text          the receipt that says so; "" without a request id
-- ARGV[10] receipt_ms   how long a receipt is kept at least
-- ARGV[11] bell         the channel on which to ring; "" for none
-- ARGV[12...] the entry's own fields and values, each name with a dot before it
--
-- Returns "gone"      it is not pending for this instance: nothing was done
--         "rejected"  it was set aside; a receipt that stood before still stands
-- Emits   one "rejected"
-- Faults  FENCED  the instance no longer holds its name; nothing was written
--         NOPERM  the Redis user may not run one of the script's commands; nothing was written
local instance = KEYS[1]
local inbox = KEYS[2]
local rejected = KEYS[3]
local events = KEYS[4]
local receipts = KEYS[5]
local older = KEYS[6]
local token = ARGV[1]
local name = ARGV[2]
local group = ARGV[3]
local log_max = ARGV[4]
local rejected_max = ARGV[5]
local id = ARGV[6]
local reason = ARGV[7]
local request = ARGV[8]
local text = ARGV[9]
local receipt_ms = tonumber(ARGV[10])
local bell = ARGV[11]

-- Read.
if redis.call('GETRANGE', instance, 0, #token - 1) ~= token then
  return redis.error_reply('FENCED the instance no longer holds its name')
end
-- Redis asks whether the user of the connection may run a command only when a script
-- comes to it, and keeps what was written before. So all that may be run past the
-- first write is asked for now. (The embedded server knows no permissions.)
local function need(...)
  if redis.acl_check_cmd and not redis.acl_check_cmd(...) then
    error(redis.error_reply('NOPERM this Redis user may not run ' .. table.concat({ ... }, ' ', 1, (...) == 'XINFO' and 3 or 2)))
  end
end
need('XADD', rejected, '*', '', '') need('XACK', inbox, group, '0-0') need('XDEL', inbox, '0-0') need('XTRIM', inbox, 'MINID', 0) need('XINFO', 'GROUPS', inbox)
if request ~= '' then need('HSET', receipts, '', '') need('PEXPIRE', receipts, 0) end
if bell ~= '' then need('PUBLISH', bell, '') end
if #redis.call('XPENDING', inbox, group, id, id, 1, name) == 0 then return 'gone' end
redis.call('XLEN', rejected)
redis.call('XLEN', events)
local standing = request ~= '' and (redis.call('HGET', receipts, request) or redis.call('HGET', older, request))

-- Write. The log comes first: a full server refuses a script's first write, and
-- no later one.
redis.call('XADD', events, 'MAXLEN', '~', log_max, '*',
  'event', 'rejected', 'by', name, 'stream', inbox, 'entry', id, 'reason', reason, 'receipt', text)
redis.call('XADD', rejected, 'MAXLEN', '~', rejected_max, '*',
  'stream', inbox, 'entry', id, 'reason', reason, unpack(ARGV, 12))
if request ~= '' and not standing then
  redis.call('HSET', receipts, request, text)
  redis.call('PEXPIRE', receipts, 3 * receipt_ms)
end
if bell ~= '' then redis.call('PUBLISH', bell, standing or text) end
redis.call('XACK', inbox, group, id)
redis.call('XDEL', inbox, id)

-- Trim to what is still needed: the oldest pending entry and all after it, or,
-- where nothing is pending, all after the last one delivered. What was decided
-- while this one was pending may still stand behind it.
local oldest = redis.call('XPENDING', inbox, group, '-', '+', 1)[1]
if oldest then
  redis.call('XTRIM', inbox, 'MINID', oldest[1])
else
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', inbox)) do
    for i = 1, #info, 2 do info[info[i]] = info[i + 1] end
    if info.name == group then
      redis.call('XDEL', inbox, info['last-delivered-id'])
      redis.call('XTRIM', inbox, 'MINID', info['last-delivered-id'])
    end
  end
end
return 'rejected'
