-- shed.lua makes room on a full server: it gives up the newest entries of an inbox that no
-- instance was given yet, and shortens the log.
--
-- An entry that is given up had no effect and gets no receipt. Whoever still waits for one
-- notices that nothing is left of his order, and sends it again.
-- Uses step.lua
--
-- KEYS[1] instance  STRING  the lock of the instance that calls
-- KEYS[2] inbox     STREAM  the inbox the entries are in
-- KEYS[3] events    STREAM  the log
--
-- ARGV[1] token     the token in the instance's lock
-- ARGV[2] name      the instance's name
-- ARGV[3] group     the group that reads the inbox
-- ARGV[4] keep      about how many unread entries stay
-- ARGV[5] log_keep  how many entries of the log stay
--
-- Returns an array of three numbers: how many entries were given up, at most 200; about
--         how many unread ones are left; and how many entries the log has
-- Emits   one "shed" if entries were given up
-- Faults  FENCED  the instance no longer holds its name; nothing was written
--         NOPERM  the Redis user may not run one of the script's commands; nothing was written
local instance = KEYS[1]
local inbox = KEYS[2]
local events = KEYS[3]
local token = ARGV[1]
local name = ARGV[2]
local group = ARGV[3]
local keep = tonumber(ARGV[4])
local log_keep = tonumber(ARGV[5])

-- Read. After deletions Redis may not know any more how many entries are unread.
local fault = fenced(instance, token)
if fault then return fault end
need('XADD', events, '*', '', '') need('XTRIM', events, 'MAXLEN', '0') need('XDEL', inbox, '0-0')
local given, unread = '0-0', call('XLEN', inbox) - call('XPENDING', inbox, group)[1]
for _, info in ipairs(call('XINFO', 'GROUPS', inbox)) do
  for i = 1, #info, 2 do info[info[i]] = info[i + 1] end
  if info.name == group then given, unread = info['last-delivered-id'], info.lag or unread end
end
local logged, ids = call('XLEN', events), {}
if unread > keep then
  local newest = call('XREVRANGE', inbox, '+', '(' .. given, 'COUNT', math.min(200, unread - keep))
  for n, entry in ipairs(newest) do ids[n] = entry[1] end
end

-- Write. What takes away comes first: a full server refuses a script's first write if it
-- adds, and no later one.
if #ids > 0 then call('XDEL', inbox, unpack(ids)) end
if logged > log_keep then logged = logged - call('XTRIM', events, 'MAXLEN', log_keep) end
if #ids > 0 then
  call('XADD', events, '*', 'event', 'shed', 'by', name, 'stream', inbox,
    'entry', ids[#ids], 'last', ids[1], 'entries', #ids)
end
return { #ids, unread - #ids, logged }
