-- demand.lua chooses which books stay in front storage: those in most demand.
--
-- The demand for a book is the logarithm of how often it was lent, where a loan weighs
-- twice as much as one demand_half loans earlier. No counter is ever aged. Instead the
-- clock moves on by ln 2 / demand_half with each loan that ends, and a new loan counts
-- for as much as the clock says.
--
-- look    reads the demand for some books
-- weigh   counts loans that ended
-- choose  chooses the books that go to the shelves

-- look fills in demand_of; -1 is a book of which nothing is noted.
local function look(demand_of, books, demand, faded)
  local found = call('HMGET', demand, unpack(books))
  local earlier = call('EXISTS', faded) == 1 and call('HMGET', faded, unpack(books)) or {}
  for i, book in ipairs(books) do demand_of[book] = tonumber(found[i] or earlier[i] or -1) end
end

-- weigh returns the new demand, as fields and values, and the time after the last loan.
-- Of a large batch only every stride-th book is counted, for as many as it stands for.
local function weigh(demand_of, books, time, demand_half)
  local noted, stride = {}, math.ceil(#books / 32)
  for i, book in ipairs(books) do
    if i % stride == 0 then
      local old, new = demand_of[book], time + math.log(stride)
      demand_of[book] = old < 0 and new or math.max(old, new) + math.log(1 + math.exp(-math.abs(old - new)))
      noted[#noted + 1] = book
      noted[#noted + 1] = string.format('%.6f', demand_of[book])
    end
    time = time + math.log(2) / demand_half
  end
  return noted, time
end

-- choose finds surplus books, those in least demand, among those that came back and those
-- that stand in front. It returns all that leave, those of them that stood in front, and
-- those of the others that came back.
local function choose(demand_of, back, front, surplus, demand, faded)
  if surplus <= 0 then return {}, {}, back end
  -- After front_max was lowered, a call moves at most 1,000 books more than came back. A
  -- large front storage is not searched: the lowest of a sample are low enough.
  surplus = math.min(surplus, #back + 1000)
  local sample = call('SRANDMEMBER', front, math.min(4000, math.max(32, 4 * surplus)))
  if #sample > 0 then look(demand_of, sample, demand, faded) end
  local pool, values = {}, {}
  for i, book in ipairs(back) do pool[i] = book end
  for _, book in ipairs(sample) do pool[#pool + 1] = book end
  for i, book in ipairs(pool) do values[i] = demand_of[book] end
  table.sort(values)
  local limit, ties = values[surplus], surplus -- of those at the limit, so many leave
  for i = 1, surplus do
    if values[i] < limit then ties = ties - 1 end
  end
  local leave, left_front, stay = {}, {}, {}
  for i = #pool, 1, -1 do
    local book = pool[i]
    local goes = demand_of[book] < limit
    if demand_of[book] == limit and ties > 0 then goes, ties = true, ties - 1 end
    if goes then
      leave[#leave + 1] = book
      if i > #back then left_front[#left_front + 1] = book end
    elseif i <= #back then
      stay[#stay + 1] = book
    end
  end
  return leave, left_front, stay
end
