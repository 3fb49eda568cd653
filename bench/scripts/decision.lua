-- decision.lua is what every contestant that is written here does with an order: the
-- decision alone. Nothing tells a repeat, nothing is fenced, and nobody gets a
-- receipt. The script that calls it is appended to it.
--
-- KEYS[1]  loans   HASH    book -> user
-- KEYS[2]  counts  HASH    user -> number of loans
-- KEYS[3]  events  STREAM  what happened
local loans, counts, events = KEYS[1], KEYS[2], KEYS[3]
local loans_max = 5

local function request(id, user, books)
  local lent = {}
  for _, book in ipairs(books) do
    if not redis.call('HGET', loans, book) then lent[#lent + 1] = book end
  end
  if #lent > 0 and redis.call('HINCRBY', counts, user, #lent) > loans_max then
    redis.call('HINCRBY', counts, user, -#lent)
    lent = {}
  end
  for _, book in ipairs(lent) do redis.call('HSET', loans, book, user) end
  redis.call('XADD', events, '*', 'event', #lent > 0 and 'lent' or 'denied',
    'id', id, 'user', user, 'books', table.concat(lent, ' '))
end

local function give_back(id, user, books)
  local returned = {}
  for _, book in ipairs(books) do
    if redis.call('HGET', loans, book) == user then
      redis.call('HDEL', loans, book)
      returned[#returned + 1] = book
    end
  end
  if #returned > 0 then redis.call('HINCRBY', counts, user, -#returned) end
  redis.call('XADD', events, '*', 'event', #returned > 0 and 'returned' or 'refused',
    'id', id, 'user', user, 'books', table.concat(returned, ' '))
end
