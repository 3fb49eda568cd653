-- lock.lua reads the lock by which an instance holds its name.
--
-- serves  whether the instance that holds a lock runs a service

-- serves reads a lock's value. An instance that does not list its services may run any.
local function serves(lock, service)
  local services = string.match(lock, '"services":%[([^%]]*)%]')
  return lock ~= '' and (not services or string.find(services, '"' .. service .. '"', 1, true) ~= nil)
end
