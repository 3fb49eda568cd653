-- inside.lua reads a batch of orders by itself, decides and acknowledges them, so
-- that no order leaves Redis.
--
-- KEYS[4]  inbox  STREAM  where they are
-- ARGV[1]  action  "request" or "return"
-- ARGV[2]  group   the group that reads the inbox
-- ARGV[3]  count   how many to read at most
--
-- Returns  how many there were
local inbox, group = KEYS[4], ARGV[2]
local decide = ARGV[1] == 'request' and request or give_back
local read = redis.call('XREADGROUP', 'GROUP', group, 'inside', 'COUNT', ARGV[3], 'STREAMS', inbox, '>')
if not read then return 0 end
for _, entry in ipairs(read[1][2]) do
  local fields = entry[2] -- id, user and books, in this order, each after its name
  decide(fields[2], fields[4], cjson.decode(fields[6]))
  redis.call('XACK', inbox, group, entry[1])
end
return #read[1][2]
