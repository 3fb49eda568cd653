-- shelves.lua reads the shelves, for fetch.lua and store.lua. What is wrong there must fault
-- before the first write.
--
-- miscounted  what to answer if the number of books that are out is none, or nil
-- read_outs   whether each book is out of its bay

local function miscounted(away)
  if not string.match(call('GET', away) or '0', '^%-?%d+$') then
    return redis.error_reply('ERR what is away is counted by a number')
  end
end

local function read_outs(bays, books)
  local outs = {}
  for i = 1, #bays do outs[i] = call('HEXISTS', bays[i], books[i]) == 1 end
  return outs
end
