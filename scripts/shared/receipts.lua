-- receipts.lua keeps receipts on two pages, so that none needs a key with a time to live.
-- pages has the keys receipts, older and page.
--
-- need_turn  a fault unless the Redis user may do what turn does
-- turn       makes this page the older one, and begins another

local function need_turn(pages)
  need('UNLINK', pages.older) need('EXISTS', pages.receipts)
  need('RENAME', pages.receipts, pages.older) need('SET', pages.page, '')
end

-- The one before the full page is forgotten, which Redis does in the background.
local function turn(pages, name, receipt_ms)
  call('UNLINK', pages.older)
  if call('EXISTS', pages.receipts) == 1 then call('RENAME', pages.receipts, pages.older) end
  call('SET', pages.page, name, 'PX', receipt_ms)
end
