-- claim.lua takes over entries that are pending for an instance whose lock is
-- gone, or does not name this service any more, or for this very instance, and
-- notes how often each counts as delivered.
--
-- What the entries hold is not looked at, for one may be so large that Redis would
-- stand still. An entry that was trimmed away while it was pending is set aside, for
-- nobody can tell any more what it asked.
-- Uses step.lua, lock.lua, rejected.lua
--
-- KEYS[1] instance  STRING  the lock of the instance that calls
-- KEYS[2] owner     STRING  the lock of the instance the entries are pending for
-- KEYS[3] inbox     STREAM  the inbox the entries are in
-- KEYS[4] terms     HASH    the terms the library lends by
-- KEYS[5] rejected  STREAM  the entries that the service set aside
-- KEYS[6] events    STREAM  the log
--
-- ARGV[1] token         the token in the instance's lock
-- ARGV[2] name          the instance's name
-- ARGV[3] owner_name    the name of the instance the entries are pending for
-- ARGV[4] group         the group that reads the inbox
-- ARGV[5] rejected_max  about how many entries are kept set aside
-- ARGV[6...] for each entry: its id, how often it counts as delivered then, and since
--         how many milliseconds
--
-- Returns two arrays of ids: of the entries that are pending for this instance now,
--         and of those that were set aside. Entries that are no longer pending for the
--         owner are in neither; both are empty if the owner lives and runs this service.
-- Emits   one "rejected" an entry that was trimmed away
-- Faults  FENCED  the instance no longer holds its name; nothing was written
--         NOPERM  the Redis user may not run one of the script's commands; nothing was written
local instance = KEYS[1]
local owner = KEYS[2]
local inbox = KEYS[3]
local terms = KEYS[4]
local rejected = KEYS[5]
local events = KEYS[6]
local token = ARGV[1]
local name = ARGV[2]
local owner_name = ARGV[3]
local group = ARGV[4]
local rejected_max = ARGV[5]

-- Read. A name may live on without this service. Nobody will come back to what is left then.
local fault = fenced(instance, token)
if fault then return fault end
need('XADD', events, '*', '', '') need('XADD', rejected, '*', '', '') need('XACK', inbox, group, '0-0')
if owner_name ~= name and serves(call('GETRANGE', owner, '0', '-1'), group) then return { {}, {} } end
call('XLEN', rejected)
call('XLEN', events)
local log_max = log_kept(terms)
local pending = {}
for arg = 6, #ARGV, 3 do
  local id = ARGV[arg]
  if #call('XPENDING', inbox, group, id, id, '1', owner_name) > 0 then pending[#pending + 1] = arg end
end

-- Write. Whether an entry still stands in the inbox, only XCLAIM tells without its content:
-- it forgets one that does not. (The embedded server does not forget it, so it is
-- acknowledged, too.) A full server allows it, and then what set_aside writes.
local claimed, trimmed = {}, {}
for _, arg in ipairs(pending) do
  local id, count, idle = ARGV[arg], ARGV[arg + 1], ARGV[arg + 2]
  local found = call('XCLAIM', inbox, group, name, '0', id, 'IDLE', idle, 'RETRYCOUNT', count, 'JUSTID')
  local list = #found > 0 and claimed or trimmed
  list[#list + 1] = id
end
for _, id in ipairs(trimmed) do
  set_aside(events, log_max, name, rejected, rejected_max, inbox, id, 'it was trimmed away before it was handled', '')
  call('XACK', inbox, group, id)
end
return { claimed, trimmed }
