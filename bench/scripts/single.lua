-- single.lua decides one order; its caller's own tools acknowledge it.
--
-- ARGV[1]  action  "request" or "return"
-- ARGV[2]  id      the order's
-- ARGV[3]  user    who asks
-- ARGV[4...] the books
local books = {}
for i = 4, #ARGV do books[#books + 1] = ARGV[i] end
local decide = ARGV[1] == 'request' and request or give_back
decide(ARGV[2], ARGV[3], books)
