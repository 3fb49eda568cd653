-- orders.lua handles a batch of orders, for lend.lua and return.lua: each is decided once,
-- and its receipt is kept. What an order is decided to be, the script says.
--
-- outdated       what to answer an instance that has reckoned by other terms than those in force, or nil
-- read_orders    the batch, in columns
-- find_receipts  the receipts that stand already, and the pages they stand on
-- ending         the end of a receipt
-- record         writes the log and the receipts
-- ring           tells the clients that wait

local function outdated(terms, version)
  if call('HGET', terms, 'version') ~= version then
    return redis.error_reply("TERMS the library's terms have changed")
  end
end

-- read_orders cuts the columns out of ARGV, from the argument first on. A column can be
-- passed on to a command in one go, and a table for each order would cost more than
-- deciding it.
local function read_orders(first, entries, asking)
  local at, rung = first + 2 * asking, {}
  for i = first, at - 1, 2 do rung[tonumber(ARGV[i])] = ARGV[i + 1] end
  local ids = { unpack(ARGV, at, at + entries - 1) }
  local requested = { unpack(ARGV, at + entries, at + 2 * entries - 1) }
  local users = { unpack(ARGV, at + 2 * entries, at + 3 * entries - 1) }
  local slips = { unpack(ARGV, at + 3 * entries, at + 4 * entries - 1) }
  return ids, requested, users, slips, { unpack(ARGV, at + 4 * entries) }, rung
end

-- find_receipts looks on this page and on the one before. A page is full when its time is
-- up; then record turns it. A receipt that says rejected stands only for the order that it
-- begins with: else anybody could void an order by sending rubbish with its id. For any
-- other order it is void, and record deletes it.
local function find_receipts(inbox, group, receipts, older, page, requested, slips)
  -- A group that is gone must fault before the first write: asked for no entries,
  -- XPENDING still looks for it.
  call('XPENDING', inbox, group, '-', '+', '0')
  local standing = call('HMGET', receipts, unpack(requested))
  if call('EXISTS', older) == 1 then
    for n, text in ipairs(call('HMGET', older, unpack(requested))) do standing[n] = standing[n] or text end
  end
  local void = {}
  for n, text in ipairs(standing) do
    if text and string.find(text, '"outcome":"rejected"', 1, true) and string.sub(text, 1, #slips[n]) ~= slips[n] then
      standing[n], void[#void + 1] = false, requested[n]
    end
  end
  local pages = { receipts = receipts, older = older, page = page, full = call('EXISTS', page) == 0, void = void, lives = call('PTTL', receipts) }
  need('HSET', receipts, '', '') need('PEXPIRE', receipts, '0')
  if #void > 0 then need('HDEL', receipts, '') need('HDEL', older, '') end
  if pages.full then need_turn(pages) end
  return standing, pages
end

local function ending(reply, due_ms)
  local outcome, words = string.match(reply, '^(%l+) (.*)$')
  return ',"outcome":"' .. outcome .. '","results":["' .. string.gsub(words, ' ', '","') .. '"]'
    .. (due_ms and outcome ~= 'denied' and ',"due_ms":' .. due_ms or '') .. '}'
end

-- record must be the script's first write, and the log its first command: a full server
-- refuses a script's first write and no later one. entered has the entry that each decided
-- order came in: its id tells when that was, and no key does once the inbox is trimmed.
local function record(decided, entered, answers, events, log_max, name, pages, receipt_ms)
  if #decided == 0 then return end
  local receipts, older = pages.receipts, pages.older
  local texts, entries, fields = {}, {}, {}
  for n, request in ipairs(decided) do
    local text = answers[request]
    texts[n], entries[n], fields[2 * n - 1], fields[2 * n] = text, '"' .. entered[n] .. '"', request, text
  end
  entries = lists(entries, 16)
  for n, text in ipairs(lists(texts, 16)) do
    call('XADD', events, 'MAXLEN', '~', log_max, '*', 'event', 'decided', 'by', name, 'receipts', text, 'entries', entries[n])
  end
  if #pages.void > 0 then
    call('HDEL', receipts, unpack(pages.void))
    call('HDEL', older, unpack(pages.void))
  end
  if pages.full then turn(pages, name, receipt_ms) end
  call('HSET', receipts, unpack(fields))
  keep(pages, receipt_ms)
end

local function ring(bells, rung, requested, answers, standing)
  for n, request in ipairs(requested) do
    if rung[n] then call('PUBLISH', bells .. rung[n], answers[request] or standing[n]) end
  end
end
