-- step.lua is how a step begins and ends. A step is what one script does with entries of
-- an inbox: all of it happens, or none of it. Nothing here knows about books.
--
-- fenced     what to answer an instance that lost its name, or nil
-- need       a fault unless the Redis user may run a command
-- need_done  the same, for all that done may run
-- log_kept   about how many entries the log keeps
-- done       acknowledges entries, and trims their inbox
local call = redis.call

-- fenced compares the token that the caller had when it read its entries with the one in
-- the lock.
local function fenced(instance, token)
  if call('GETRANGE', instance, '0', #token - 1) ~= token then
    return redis.error_reply('FENCED the instance no longer holds its name')
  end
end

-- need asks for a permission before the first write. Redis itself asks only when the
-- script reaches the command, and keeps what was written before it. Some servers answer
-- only if the command has as many arguments as it needs, so what is not known yet is given
-- as ''. (The embedded server has no permissions.)
local function need(...)
  if redis.acl_check_cmd and not redis.acl_check_cmd(...) then
    error(redis.error_reply('NOPERM this Redis user may not run ' .. table.concat({ ... }, ' ', 1, (...) == 'XINFO' and 3 or 2)))
  end
end

local function need_done(inbox, group)
  need('XACK', inbox, group, '0-0') need('XLEN', inbox) need('XDEL', inbox, '0-0')
  need('XINFO', 'GROUPS', inbox) need('XTRIM', inbox, 'MINID', '0')
end

-- log_kept has no bound if the library has no terms yet: who sets them says how long its
-- log is.
local function log_kept(terms)
  return string.match(call('HGET', terms, 'log_max') or '', '^%d+$') or '1000000000000'
end

-- done acknowledges entries, and trims their inbox to what is still needed: the oldest
-- pending entry and everything after it; if nothing is pending, everything after the last
-- entry delivered. (The group's lag would say sooner that nothing is left, but after
-- deletions Redis may only estimate it.) An entry that stood alone is deleted without a look
-- at the group. Behind an entry that stays pending at most 10,000 decided ones are kept:
-- if there are more, a call deletes its own.
local function done(inbox, group, ids)
  if #ids > 0 then call('XACK', inbox, group, unpack(ids)) end
  local length = call('XLEN', inbox)
  if length <= 1 and #ids > 0 and call('XDEL', inbox, ids[1]) == 1 then return end
  local oldest = call('XPENDING', inbox, group, '-', '+', '1')[1]
  if oldest then length = length - call('XTRIM', inbox, 'MINID', oldest[1]) end
  if oldest and (length <= 10000 or #ids == 0) then return end
  for _, info in ipairs(call('XINFO', 'GROUPS', inbox)) do
    for i = 1, #info, 2 do info[info[i]] = info[i + 1] end
    if info.name == group and not oldest then
      call('XTRIM', inbox, 'MINID', info['last-delivered-id'])
      ids = { info['last-delivered-id'] } -- which MINID keeps
    elseif info.name == group and length - info.pending - (info.lag or 0) <= 10000 then
      ids = {} -- most of it was not read yet
    end
  end
  if #ids > 0 then call('XDEL', inbox, unpack(ids)) end
end
