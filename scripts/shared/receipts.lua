-- receipts.lua keeps receipts on two pages, so that none needs a key with a time to live.
-- Each receipt lives for as long as the terms promised when it was given, whatever they are
-- later. pages has the keys receipts, older and page, and as lives what PTTL says of this page.
--
-- need_turn  a fault unless the Redis user may do what turn does
-- turn       makes this page the older one, and begins another
-- keep       lets this page live long enough

local function need_turn(pages)
  need('UNLINK', pages.older) need('EXISTS', pages.receipts)
  need('RENAME', pages.receipts, pages.older) need('SET', pages.page, '')
end

-- turn forgets the older page, which Redis does in the background. The page that takes its
-- place is forgotten at the next turn, so the new page lasts until no promise is left on it:
-- what is left of one is at most a third of the page's own life, see keep.
local function turn(pages, name, receipt_ms)
  call('UNLINK', pages.older)
  if call('EXISTS', pages.receipts) == 1 then call('RENAME', pages.receipts, pages.older) end
  call('SET', pages.page, name, 'PX', math.max(receipt_ms, math.ceil(pages.lives / 3)))
  pages.lives = -2 -- the new one does not exist yet
end

-- keep is for the case that nobody decides anything any more, so that nobody turns the
-- page: then it expires, after at least three times what was promised. It gets a little
-- more, so that not every call has to write.
local function keep(pages, receipt_ms)
  if pages.lives < 3 * receipt_ms then call('PEXPIRE', pages.receipts, math.ceil(3.03 * receipt_ms)) end
end
