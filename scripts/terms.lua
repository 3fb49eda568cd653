-- terms.lua sets the library's terms. Every script reads what it needs of them at the
-- moment in which it decides, so all instances decide by the new ones from then on.
-- Uses step.lua
--
-- KEYS[1] terms   HASH    term -> value, and version: the id of the event that tells of them
-- KEYS[2] noted   HASH    a copy of the terms, for programs that know no others
-- KEYS[3] events  STREAM  the log
--
-- ARGV[1] by       who sets them: an instance, or a person
-- ARGV[2] version  the version of the terms that they replace; "" where none stand
-- ARGV[3] from     the terms before, as a JSON object; "{}" where none stood
-- ARGV[4] to       the terms from now on, as a JSON object
-- ARGV[5] log_max  about how many entries the log keeps from now on
-- ARGV[6...] each term and its value
--
-- Returns "stale"  other terms than those of that version stand: nothing was done
--         otherwise the new version
-- Emits   one "terms"
-- Faults  NOPERM  the Redis user may not run one of the script's commands; nothing was written
local terms = KEYS[1]
local noted = KEYS[2]
local events = KEYS[3]
local by = ARGV[1]
local version = ARGV[2]
local from = ARGV[3]
local to = ARGV[4]
local log_max = ARGV[5]

-- Read.
need('HSET', terms, '', '') need('HSET', noted, '', '')
call('HLEN', noted)
if (call('HGET', terms, 'version') or '') ~= version then return 'stale' end

-- Write. The log comes first: a full server refuses a script's first write, and
-- no later one.
local new = call('XADD', events, 'MAXLEN', '~', log_max, '*', 'event', 'terms', 'by', by, 'from', from, 'to', to)
call('HSET', terms, 'version', new, 'by', by, unpack(ARGV, 6))
call('HSET', noted, 'since_ms', string.match(new, '^%d+'), unpack(ARGV, 6))
return new
