-- store.lua puts a batch of books on the shelves, or hands a book that is awaited
-- straight on to the lending service.
-- Uses step.lua, json.lua, parcels.lua, shelves.lua
--
-- KEYS[1] instance    STRING  the lock of the instance that calls
-- KEYS[2] stores      STREAM  the inbox the entries were read from
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
--         list                 its books as they are logged (JSON)
--         books × book
--
-- Returns an array with one word a book, in order of precedence:
--         "gone"       its entry is not pending for this instance: nothing was done
--         "handed_on"  the book goes to the request that awaited it
--         "stored"     the book is on the shelves
--         "conflict"   the book is on the shelves already: nothing was done, and an
--                      entry of this book alone is still pending
--         "apart"      the same, in an entry of several books: it has an entry of its own now
-- Emits   one "handed_on" an entry of that result, one "stored" an entry of that result
-- Faults  FENCED  the instance no longer holds its name; nothing was written
--         NOPERM  the Redis user may not run one of the script's commands; nothing was written
local instance = KEYS[1]
local stores = KEYS[2]
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
need('DECRBY', away, '0')
need_done(stores, group)
local ids, texts, last, _, books = read_parcels(4, 3, 1)
local words = gone(stores, group, name, ids, last)
local bays = { unpack(KEYS, 7) }
for i = 1, #bays do need('HDEL', bays[i], '') end
local outs = read_outs(bays, books)
call('XLEN', deliveries) -- a key of the wrong type must fault before the first write
local waits = call('HMGET', awaited, unpack(books))

-- Decide. settled is where an earlier entry of this batch left a book: out or in.
local settled, back, handed = {}, {}, {}
for i = 1, #books do
  local book = books[i]
  if words[i] then
    -- its entry is gone
  elseif outs[i] and waits[i] and not settled[book] then
    words[i] = 'handed_on'
    settled[book] = 'out'
    handed[#handed + 1] = i
  elseif outs[i] and settled[book] ~= 'in' then
    words[i] = 'stored'
    settled[book] = 'in'
    back[#back + 1] = i
  end
end
local finished, apart = set_apart(ids, last, words)
if #handed > 0 then need('XADD', deliveries, '*', '', '') need('HDEL', awaited, '') end
if #apart > 0 then need('XADD', stores, '*', '', '') end

-- Write. The log comes first: a full server refuses a script's first write, and no later one.
for _, orders in ipairs(arrays(handed, last, books, waits)) do
  call('XADD', events, '*', 'event', 'handed_on', 'by', name, 'orders', orders)
  call('XADD', deliveries, '*', 'orders', orders)
end
for _, text in ipairs(arrays(back, last, books, nil, nil, texts)) do
  call('XADD', events, '*', 'event', 'stored', 'by', name, 'books', text)
end
if #handed > 0 then call('HDEL', awaited, unpack(pick(books, handed))) end
for _, i in ipairs(back) do call('HDEL', bays[i], books[i]) end
if #back > 0 then call('DECRBY', away, #back) end
for _, i in ipairs(apart) do call('XADD', stores, '*', 'books', '[' .. line(books[i]) .. ']') end
done(stores, group, finished)
return words
