-- floor.lua is the least that can be done with a batch of orders: a book that
-- nobody has is lent, one that is lent comes back; the event, the acknowledgement
-- and the answer.
--
-- KEYS[1]  loans   HASH    book -> user
-- KEYS[2]  events  STREAM  what happened
-- KEYS[3]  inbox   STREAM  where the orders were read from
-- ARGV[1]  group   the group that reads the inbox
-- ARGV[2...] for each entry: its entry id, user, book, and the channel for the answer
local loans, events, inbox, group = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
for arg = 2, #ARGV, 4 do
  local id, user, book, channel = ARGV[arg], ARGV[arg + 1], ARGV[arg + 2], ARGV[arg + 3]
  local event = 'lent'
  if redis.call('HGET', loans, book) then
    event = 'returned'
    redis.call('HDEL', loans, book)
  else
    redis.call('HSET', loans, book, user)
  end
  redis.call('XADD', events, '*', 'event', event, 'user', user, 'book', book)
  redis.call('XACK', inbox, group, id)
  redis.call('PUBLISH', channel, user .. ' ' .. event)
end
