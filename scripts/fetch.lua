-- fetch.lua takes a batch of ordered books off the shelves and sends them to the
-- lending service.
--
-- An order can overtake the return of the same book, because they come by different
-- streams. The book is then noted as awaited, and store.lua hands it on.
-- Uses step.lua, json.lua, parcels.lua, shelves.lua
--
-- KEYS[1] instance    STRING  the lock of the instance that calls
-- KEYS[2] fetches     STREAM  the inbox the entries were read from
-- KEYS[3] away        STRING  how many books are not on the shelves
-- KEYS[4] awaited     HASH    book -> request, for books that are out and ordered again
-- KEYS[5] deliveries  STREAM  the lending service's inbox for books from the shelves
-- KEYS[6] events      STREAM  the log
-- KEYS[7...] for each book: what is out of its bay of the shelves (HASH book -> "")
--
-- ARGV[1] token  the token in the instance's lock
-- ARGV[2] name   the instance's name, under which the entries are pending
-- ARGV[3] group  the group that reads the inbox
-- ARGV[4...] for each entry, by ascending entry id; at most 2,000 books a call:
--         id, books            the entry id, and how many books it has
--         orders               its orders as they are passed on (JSON)
--         books × (request, book)
--
-- Returns an array with one word a book, in order of precedence:
--         "gone"      its entry is not pending for this instance: nothing was done
--         "fetched"   the book left the shelves
--         "awaited"   the book is out; it will be handed on when it comes back
--         "conflict"  another order awaits the book already: nothing was done, and an
--                     entry of this book alone is still pending
--         "apart"     the same, in an entry of several books: it has an entry of its own now
-- Emits   one "fetched" an entry of that result, one "awaited" an entry of that result
-- Faults  FENCED  the instance no longer holds its name; nothing was written
--         NOPERM  the Redis user may not run one of the script's commands; nothing was written
local instance = KEYS[1]
local fetches = KEYS[2]
local away = KEYS[3]
local awaited = KEYS[4]
local deliveries = KEYS[5]
local events = KEYS[6]
local token = ARGV[1]
local name = ARGV[2]
local group = ARGV[3]

-- Read.
local fault = fenced(instance, token) or miscounted(away)
if fault then return fault end
need('XADD', deliveries, '*', '', '') need('INCRBY', away, '0')
need_done(fetches, group)
local ids, texts, last, requested, books = read_parcels(4, 3, 2)
local words = gone(fetches, group, name, ids, last)
local bays = { unpack(KEYS, 7) }
for i = 1, #bays do need('HSET', bays[i], '', '') end
local outs = read_outs(bays, books)
call('XLEN', deliveries) -- a key of the wrong type must fault before the first write
local waits = call('HMGET', awaited, unpack(books))

-- Decide. out and expected have what an earlier book of this batch has changed.
local out, expected, left, late, noted = {}, {}, {}, {}, {}
for i = 1, #books do
  local book = books[i]
  if words[i] then
    -- its entry is gone
  elseif not (outs[i] or out[book]) then
    words[i] = 'fetched'
    out[book] = true
    left[#left + 1] = i
  elseif not (waits[i] or expected[book]) then
    words[i] = 'awaited'
    expected[book] = true
    late[#late + 1] = i
    noted[#noted + 1] = book
    noted[#noted + 1] = requested[i]
  end
end
local finished, apart = set_apart(ids, last, words)
if #late > 0 then need('HSET', awaited, '', '') end
if #apart > 0 then need('XADD', fetches, '*', '', '') end

-- Write. The log comes first: a full server refuses a script's first write, and no later one.
for _, orders in ipairs(arrays(left, last, books, requested, nil, texts)) do
  call('XADD', events, '*', 'event', 'fetched', 'by', name, 'orders', orders)
  call('XADD', deliveries, '*', 'orders', orders)
end
for _, orders in ipairs(arrays(late, last, books, requested)) do
  call('XADD', events, '*', 'event', 'awaited', 'by', name, 'orders', orders)
end
for _, i in ipairs(left) do call('HSET', bays[i], books[i], '') end
if #left > 0 then call('INCRBY', away, #left) end
if #noted > 0 then call('HSET', awaited, unpack(noted)) end
for _, i in ipairs(apart) do call('XADD', fetches, '*', 'orders', '[' .. line(books[i], requested[i]) .. ']') end
done(fetches, group, finished)
return words
