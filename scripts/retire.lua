-- retire.lua removes an instance from a group, if that loses nothing: removing a
-- consumer drops what is pending for it.
-- Uses lock.lua
--
-- KEYS[1] instance  STRING  the lock of the instance to remove
-- KEYS[2] inbox     STREAM  the inbox whose group it is in
--
-- ARGV[1] name   the instance's name
-- ARGV[2] group  the group
--
-- Returns "alive"    its lock is held, and names this service: nothing was done
--         "pending"  entries are pending for it: nothing was done
--         "retired"  it is not in the group any more
-- Emits   nothing
-- Faults  none
local instance = KEYS[1]
local inbox = KEYS[2]
local name = ARGV[1]
local group = ARGV[2]

-- Read.
if serves(redis.call('GETRANGE', instance, '0', '-1'), group) then return 'alive' end
if #redis.call('XPENDING', inbox, group, '-', '+', '1', name) > 0 then return 'pending' end

-- Write.
redis.call('XGROUP', 'DELCONSUMER', inbox, group, name)
return 'retired'
