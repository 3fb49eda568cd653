-- prolong.lua makes a page of receipts live a little longer, so that whoever has
-- read a receipt has written something, whose replication WAIT can tell of.
--
-- It must be a real change, which no server may leave out, and it is one that a
-- full server allows.
--
-- KEYS[1] receipts  HASH  request -> receipt, this page
-- KEYS[2] older     HASH  request -> receipt, the page before
--
-- ARGV[1] longer_ms  how much longer
--
-- Returns "prolonged"  this page, or the older one where that is all there is, lives longer
--         "gone"       there is no page with an end: nothing was done
-- Emits   nothing
-- Faults  none
local receipts = KEYS[1]
local older = KEYS[2]
local longer_ms = tonumber(ARGV[1])

-- Read.
local page, ends = receipts, redis.call('PEXPIRETIME', receipts)
if ends < 0 then page, ends = older, redis.call('PEXPIRETIME', older) end
if ends < 0 then return 'gone' end

-- Write.
redis.call('PEXPIREAT', page, string.format('%.0f', ends + longer_ms))
return 'prolonged'
