-- batch.lua decides a batch of orders that its caller has read, and acknowledges
-- each.
--
-- KEYS[4]  inbox  STREAM  where they were read from
-- ARGV[1]  action  "request" or "return"
-- ARGV[2]  group   the group that reads the inbox
-- ARGV[3...] for each entry: its entry id, order id, user, number of books, and the books
local inbox, group = KEYS[4], ARGV[2]
local decide = ARGV[1] == 'request' and request or give_back
local arg = 3
while arg <= #ARGV do
  local books = {}
  for i = 1, tonumber(ARGV[arg + 3]) do books[i] = ARGV[arg + 3 + i] end
  decide(ARGV[arg + 1], ARGV[arg + 2], books)
  redis.call('XACK', inbox, group, ARGV[arg])
  arg = arg + 4 + #books
end
