-- rejected.lua sets entries aside that cannot be applied, and finds what was said of them.
--
-- set_aside     keeps an entry among the rejected, and logs it
-- find_receipt  a request's receipt, on either page; without a request there is none

-- set_aside must be the script's first write, and the log its first command: a full server
-- refuses a script's first write and no later one. (Before it claim.lua moves the entry, which
-- a full server allows.)
local function set_aside(events, log_max, name, rejected, rejected_max, inbox, id, reason, receipt, ...)
  call('XADD', events, 'MAXLEN', '~', log_max, '*',
    'event', 'rejected', 'by', name, 'stream', inbox, 'entry', id, 'reason', reason, 'receipt', receipt)
  call('XADD', rejected, 'MAXLEN', '~', rejected_max, '*', 'stream', inbox, 'entry', id, 'reason', reason, ...)
end

local function find_receipt(receipts, older, request)
  return request ~= '' and (call('HGET', receipts, request) or call('HGET', older, request))
end
