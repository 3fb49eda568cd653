-- drop.lua gives up on an entry that was set aside. Its receipt stands.
-- Uses step.lua
--
-- KEYS[1] rejected  STREAM  the entries that the service set aside
-- KEYS[2] events    STREAM  the log
--
-- ARGV[1] id  the id of the entry that was set aside
--
-- Returns "unknown"  no such entry is set aside: nothing was done
--         "dropped"  it is gone
-- Emits   one "dropped"
-- Faults  NOPERM  the Redis user may not run one of the script's commands; nothing was written
local rejected = KEYS[1]
local events = KEYS[2]
local id = ARGV[1]

-- Read.
need('XDEL', rejected, '0-0')
local entry = call('XRANGE', rejected, id, id)[1]
if not entry then return 'unknown' end
local told = {}
for i = 1, #entry[2], 2 do told[entry[2][i]] = entry[2][i + 1] end

-- Write. The log is trimmed by whoever appends next: a person's tool cannot know how long it is
-- to be.
call('XADD', events, '*', 'event', 'dropped', 'stream', told.stream or '', 'entry', told.entry or '', 'rejected', id)
call('XDEL', rejected, id)
return 'dropped'
