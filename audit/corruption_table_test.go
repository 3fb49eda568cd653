package audit_test

// corruptions has every kind of fact in docs/reference.md's table of keys, and the ways in
// which it can be wrong.
var corruptions = []corruption{
	{name: "a loan is another's", do: []string{"HSET @lending:loans held user2"}, want: []found{
		{"book", "lending:loans", "held", "user2", "", "decided held", `it is lent to "user2" here; the log says it is lent to "user1"`},
	}},
	{name: "a loan is missing", do: []string{"HDEL @lending:loans held"}, want: []found{
		{"book", "lending:loans", "held", "user1", "", "decided held", `it is lent to nobody here; the log says it is lent to "user1"`},
	}},
	{name: "a loan is added", do: []string{"HSET @lending:loans geb user4"}, want: []found{
		{"book", "lending:loans", "geb", "user4", "", "", `it is lent to "user4" here; the log says it is lent to nobody`},
	}},
	{name: "a loan is nobody's", do: []string{"HSET @lending:loans held "}, want: []found{
		{"book", "lending:loans", "held", "user1", "", "decided held", `it is lent to nobody here; the log says it is lent to "user1"`},
		{"value", "lending:loans", "held", "", "", "decided held", `it holds "" where it should hold the name of a user`},
	}},
	{name: "a book in front storage is lent", do: []string{"HSET @lending:loans front user4"}, want: []found{
		{"book", "lending:loans", "front", "user4", "", "decided t3", `it is lent to "user4" here; the log says it is lent to nobody`},
	}},
	{name: "a book on the shelves again is lent", do: []string{"HSET @lending:loans home user4"}, want: []found{
		{"book", "lending:loans", "home", "user4", "", "stored home", `it is lent to "user4" here; the log says it is lent to nobody`},
	}},
	{name: "a card lacks a book", do: []string{"HDEL @lending:card:user2 taken"}, want: []found{
		{"card", "lending:card:user2", "taken", "user2", "", "decided taken", `it is not on this card; the log says it is lent to "user2"`},
	}},
	{name: "a whole card is missing", do: []string{"DEL @lending:card:user3"}, want: []found{
		{"card", "lending:card:user3", "awaited", "user3", "", "awaited awaited", `it is not on this card; the log says it is lent to "user3"`},
	}},
	{name: "a card has a book more", do: []string{"HSET @lending:card:user4 geb 17977596342940028"}, want: []found{
		{"card", "lending:card:user4", "geb", "user4", "", "", "it is on this card; the log says it is lent to nobody"},
	}},
	{name: "a book is on a second card", do: []string{"HSET @lending:card:user3 held 17977596342940028"}, want: []found{
		{"card", "lending:card:user3", "held", "user3", "", "decided held", `it is on this card; the log says it is lent to "user1"`},
	}},
	{name: "a loan is due at another time", do: []string{"HSET @lending:card:user2 taken 17977596342940028"}, want: []found{
		{"card", "lending:card:user2", "taken", "user2", "", "decided taken", "on this card; the log says"},
	}},
	{name: "a loan is due at no time", do: []string{"HSET @lending:card:user2 taken soon"}, want: []found{
		{"value", "lending:card:user2", "taken", "user2", "", "decided taken", `it holds "soon" where it should hold a time and four digits for the days of the loan`},
	}},
	{name: "a loan is for no days", do: []string{"HSET @lending:card:user2 taken 17977596342940000"}, want: []found{
		{"value", "lending:card:user2", "taken", "user2", "", "decided taken", `it holds "17977596342940000" where it should hold a time and four digits for the days of the loan`},
	}},
	{name: "a book is on its way no more", do: []string{"HDEL @lending:fetching coming"}, want: []found{
		{"order", "lending:fetching", "coming", "user1", "r9", "decided coming", `it is fetched for nobody here; the log says for order "r9"`},
	}},
	{name: "a book in hand is on its way", do: []string{"HSET @lending:fetching held r1~bell"}, want: []found{
		{"order", "lending:fetching", "held", "user1", "r1", "decided held", `it is fetched for order "r1" here; the log says for nobody`},
	}},
	{name: "a book is on its way for another order", do: []string{"HSET @lending:fetching coming r10~"}, want: []found{
		{"order", "lending:fetching", "coming", "user1", "r9", "decided coming", `it is fetched for order "r10" here; the log says for order "r9"`},
	}},
	{name: "a book nobody asked for is on its way", do: []string{"HSET @lending:fetching geb r99~"}, want: []found{
		{"order", "lending:fetching", "geb", "", "r99", "", `it is fetched for order "r99" here; the log says for nobody`},
	}},
	{name: "an order on its way lacks its space", do: []string{"HSET @lending:fetching coming r9"}, want: []found{
		{"value", "lending:fetching", "coming", "", "", "decided coming", `it holds "r9" where it should hold an order, a space, and a bell or nothing`},
	}},
	{name: "front storage lacks a book", do: []string{"SREM @lending:front front"}, want: []found{
		{"book", "lending:front", "front", "", "", "decided t3", "front storage does not have it; the log says it is in front storage"},
	}},
	{name: "front storage has a book more", do: []string{"SADD @lending:front geb"}, want: []found{
		{"book", "lending:front", "geb", "", "", "", "front storage has it; the log says it is on the shelves"},
	}},
	{name: "a lent book is in front storage", do: []string{"SADD @lending:front held"}, want: []found{
		{"book", "lending:front", "held", "", "", "decided held", "front storage has it; the log says it is in the user's hands"},
	}},
	{name: "a book out is not noted", do: []string{"HDEL @shelving:out:33918 held"}, want: []found{
		{"book", "shelving:out:33918", "held", "", "", "decided held", "it is on the shelves here; the log says it is in the user's hands"},
	}},
	{name: "a book on the shelves is noted as out", do: []string{"HSET @shelving:out:48481 geb "}, want: []found{
		{"book", "shelving:out:48481", "geb", "", "", "", "it is off the shelves here; the log says it is on the shelves"},
	}},
	{name: "a book is in the wrong bay", do: []string{"HDEL @shelving:out:33918 held", "HSET @shelving:out:1 held "}, want: []found{
		{"book", "shelving:out:1", "held", "", "", "decided held", "it is noted in a bay that it does not belong to"},
		{"book", "shelving:out:33918", "held", "", "", "decided held", "it is on the shelves here; the log says it is in the user's hands"},
	}},
	{name: "a book is in two bays", do: []string{"HSET @shelving:out:1 held "}, want: []found{
		{"book", "shelving:out:1", "held", "", "", "decided held", "it is noted in a bay that it does not belong to"},
	}},
	{name: "the count is wrong", do: []string{"INCR @shelving:away"}, want: []found{
		{"count", "shelving:away", "", "", "", "rejected books", "it counts 8 off the shelves, and by the log it should be 7"},
	}},
	{name: "the count is no number", do: []string{"SET @shelving:away many"}, want: []found{
		{"value", "shelving:away", "", "", "", "", `it should be a number, and is "many"`},
	}},
	{name: "the count is missing", do: []string{"DEL @shelving:away"}, want: []found{
		{"count", "shelving:away", "", "", "", "rejected books", "it counts 0 off the shelves, and by the log it should be 7"},
	}},
	{name: "a book is awaited no more", do: []string{"HDEL @shelving:awaited awaited"}, want: []found{
		{"order", "shelving:awaited", "awaited", "user3", "r5", "awaited r5", `it is awaited by nobody here; the log says by order "r5"`},
	}},
	{name: "a book in hand is awaited", do: []string{"HSET @shelving:awaited held r1"}, want: []found{
		{"order", "shelving:awaited", "held", "user1", "r1", "decided held", `it is awaited by order "r1" here; the log says by nobody`},
	}},
	{name: "a book on the shelves is awaited", do: []string{"HSET @shelving:awaited home r2"}, want: []found{
		{"order", "shelving:awaited", "home", "", "r2", "stored home", `it is awaited by order "r2" here; the log says by nobody`},
	}},
	{name: "a book is awaited by another order", do: []string{"HSET @shelving:awaited awaited r2"}, want: []found{
		{"order", "shelving:awaited", "awaited", "user3", "r5", "awaited r5", `it is awaited by order "r2" here; the log says by order "r5"`},
	}},
	{name: "a book is awaited by nothing", do: []string{"HSET @shelving:awaited awaited "}, want: []found{
		{"order", "shelving:awaited", "awaited", "user3", "r5", "awaited r5", `it is awaited by nobody here; the log says by order "r5"`},
		{"value", "shelving:awaited", "awaited", "", "", "awaited awaited", `it holds "" where it should hold an order`},
	}},
	{name: "an order to the shelves is missing", do: []string{"XDEL @shelving:fetches ENTRY(shelving:fetches,coming)"}, want: []found{
		{"order", "shelving:fetches", "coming", "user1", "r9", "decided coming", `it waits here to be fetched for nobody; the log says for order "r9"`},
	}},
	{name: "an order in a worker's hands is missing", do: []string{"XDEL @shelving:fetches ENTRY(shelving:fetches,walking)"}, want: []found{
		{"order", "shelving:fetches", "walking", "user1", "r8", "decided r8", `it waits here to be fetched for nobody; the log says for order "r8"`},
	}},
	{name: "an order to the shelves is forged", do: []string{`XADD @shelving:fetches * orders [["r99","geb"]]`}, want: []found{
		{"order", "shelving:fetches", "geb", "", "r99", "", `it waits here to be fetched for order "r99"; the log says for nobody`},
	}},
	{name: "an order to the shelves is doubled", do: []string{`XADD @shelving:fetches * orders [["r9","coming"]]`}, want: []found{
		{"order", "shelving:fetches", "coming", "user1", "r9", "decided coming", `it waits here to be fetched for order "r9" and order "r9"; the log says for order "r9"`},
	}},
	{name: "an order to the shelves is for another request", do: []string{"XDEL @shelving:fetches ENTRY(shelving:fetches,coming)", `XADD @shelving:fetches * orders [["r10","coming"]]`}, want: []found{
		{"order", "shelving:fetches", "coming", "user1", "r9", "decided coming", `it waits here to be fetched for order "r10"; the log says for order "r9"`},
	}},
	{name: "an order to the shelves is acknowledged without effect", do: []string{"XACK @shelving:fetches shelving ENTRY(shelving:fetches,walking)"}, want: []found{
		{"order", "shelving:fetches", "walking", "user1", "r8", "decided r8", `it waits here to be fetched for nobody; the log says for order "r8"`},
	}},
	{name: "the orders to the shelves are skipped", do: []string{"XGROUP SETID @shelving:fetches shelving $"},
		onlyRedis: "the embedded server has no XGROUP SETID", want: []found{
			{"order", "shelving:fetches", "coming", "user1", "r9", "decided coming", `it waits here to be fetched for nobody; the log says for order "r9"`},
		}},
	{name: "the whole inbox of the shelves is gone", do: []string{"DEL @shelving:fetches"}, want: []found{
		{"order", "shelving:fetches", "coming", "user1", "r9", "decided coming", `it waits here to be fetched for nobody; the log says for order "r9"`},
		{"order", "shelving:fetches", "walking", "user1", "r8", "decided r8", `it waits here to be fetched for nobody; the log says for order "r8"`},
	}},
	{name: "a book to be stored is missing", do: []string{"XDEL @shelving:stores ENTRY(shelving:stores,leaving)"}, want: []found{
		{"order", "shelving:stores", "leaving", "", "", "shelved leaving", "no entry here puts it on the shelves; the log says it is on its way to the shelves"},
	}},
	{name: "a book to be stored is missing while it is awaited", do: []string{"XDEL @shelving:stores ENTRY(shelving:stores,awaited)"}, want: []found{
		{"order", "shelving:stores", "awaited", "", "", "awaited awaited", "no entry here puts it on the shelves; the log says it is on its way to the shelves"},
	}},
	{name: "a book to be stored is forged", do: []string{`XADD @shelving:stores * books ["held"]`}, want: []found{
		{"order", "shelving:stores", "held", "", "", "decided held", "an entry here puts it on the shelves; the log says it is in the user's hands"},
	}},
	{name: "a book to be stored is doubled", do: []string{`XADD @shelving:stores * books ["leaving"]`}, want: []found{
		{"order", "shelving:stores", "leaving", "", "", "shelved leaving", "each of 2 entries here puts it on the shelves; the log says it is on its way to the shelves"},
	}},
	{name: "a book to be stored is acknowledged without effect", do: []string{"XACK @shelving:stores shelving ENTRY(shelving:stores,leaving)"}, want: []found{
		{"order", "shelving:stores", "leaving", "", "", "shelved leaving", "no entry here puts it on the shelves; the log says it is on its way to the shelves"},
	}},
	{name: "a delivery is missing", do: []string{"XDEL @lending:deliveries ENTRY(lending:deliveries,arriving)"}, want: []found{
		{"order", "lending:deliveries", "arriving", "user1", "r6", "fetched r6", `it is delivered here for nobody; the log says for order "r6", and that it is on its way to the user`},
	}},
	{name: "a delivery is forged", do: []string{`XADD @lending:deliveries * orders [["r1","held"]]`}, want: []found{
		{"order", "lending:deliveries", "held", "user1", "r1", "decided held", `it is delivered here for order "r1"; the log says for nobody, and that it is in the user's hands`},
	}},
	{name: "a delivery is doubled", do: []string{`XADD @lending:deliveries * orders [["r6","arriving"]]`}, want: []found{
		{"order", "lending:deliveries", "arriving", "user1", "r6", "fetched r6", `it is delivered here for order "r6" and order "r6"; the log says for order "r6", and that it is on its way to the user`},
	}},
	{name: "a delivery is for another request", do: []string{"XDEL @lending:deliveries ENTRY(lending:deliveries,arriving)", `XADD @lending:deliveries * orders [["r7","arriving"]]`}, want: []found{
		{"order", "lending:deliveries", "arriving", "user1", "r6", "fetched r6", `it is delivered here for order "r7"; the log says for order "r6", and that it is on its way to the user`},
	}},
	{name: "a delivery is acknowledged without effect", do: []string{"XREADGROUP GROUP lending worker1 STREAMS @lending:deliveries >", `XADD @lending:deliveries * orders [["r77"]]`, "XACK @lending:deliveries lending ENTRY(lending:deliveries,arriving)"}, want: []found{
		{"order", "lending:deliveries", "arriving", "user1", "r6", "fetched r6", `it is delivered here for nobody; the log says for order "r6", and that it is on its way to the user`},
	}},
	{name: "a request is acknowledged without an answer", do: []string{"XREADGROUP GROUP lending worker1 STREAMS @lending:requests >", "XACK @lending:requests lending ENTRY(lending:requests,r12)"}, want: []found{
		{"entry", "lending:requests", "", "user4", "r12", "", "was acknowledged or skipped, but the log has no answer to it"},
	}},
	{name: "a return is acknowledged without an answer", do: []string{"XACK @lending:returns lending ENTRY(lending:returns,t6)"}, want: []found{
		{"entry", "lending:returns", "", "user1", "t6", "", "was acknowledged or skipped, but the log has no answer to it"},
	}},
	{name: "a receipt says something else", do: []string{`HSET @lending:receipts r11 {"id":"r11","user":"user4","outcome":"granted"}`}, want: []found{
		{"receipt", "lending:receipts", "", "user4", "r11", "decided r11", "its receipt is not the one that the log has:"},
	}},
	{name: "a receipt is no receipt", do: []string{"HSET @lending:receipts r11 rubbish"}, want: []found{
		{"receipt", "lending:receipts", "", "user4", "r11", "decided r11", `its receipt is not the one that the log has: "rubbish"`},
	}},
	{name: "a receipt is missing", do: []string{"HDEL @lending:receipts r11"}, want: []found{
		{"receipt", "lending:receipts", "", "user4", "r11", "decided r11", "its receipt is missing, though the log has its decision and it should still stand"},
	}},
	{name: "an older receipt is missing", do: []string{"HDEL @lending:receipts:older r2"}, want: []found{
		{"receipt", "lending:receipts", "", "user2", "r2", "decided r2", "its receipt is missing, though the log has its decision and it should still stand"},
	}},
	{name: "a receipt is forged", do: []string{`HSET @lending:receipts r99 {"id":"r99","user":"user4","outcome":"granted"}`}, want: []found{
		{"receipt", "lending:receipts", "", "user4", "r99", "", "it has a receipt of which the log does not tell:"},
	}},
	{name: "an order has a receipt on both pages", do: []string{`HSET @lending:receipts:older r11 {"id":"r11","user":"user4","outcome":"granted"}`}, want: []found{
		{"receipt", "lending:receipts", "", "user4", "r11", "decided r11", "it has two receipts, one on each page:"},
	}},
	{name: "the older page is gone", do: []string{"DEL @lending:receipts:older"}, want: []found{
		{"receipt", "lending:receipts", "", `a"b{c}*?[d]\, é-א`, "r4", "decided r4", "its receipt is missing, though the log has its decision and it should still stand"},
		{"receipt", "lending:receipts", "", "user1", "r1", "decided r1", "its receipt is missing, though the log has its decision and it should still stand"},
		{"receipt", "lending:receipts", "", "user2", "r2", "decided r2", "its receipt is missing, though the log has its decision and it should still stand"},
		{"receipt", "lending:receipts", "", "user2", "t1", "decided t1", "its receipt is missing, though the log has its decision and it should still stand"},
		{"receipt", "lending:receipts", "", "user2", "t2", "decided t2", "its receipt is missing, though the log has its decision and it should still stand"},
		{"receipt", "lending:receipts", "", "user3", "r3", "decided r3", "its receipt is missing, though the log has its decision and it should still stand"},
	}},
	{name: "a receipt that says rejected is another", do: []string{`HSET @lending:receipts bad1 {"id":"bad1","user":"user1","outcome":"granted"}`}, want: []found{
		{"receipt", "lending:receipts", "", "user1", "bad1", "rejected bad1", "its receipt is not the one that the log has:"},
	}},
	{name: "the page has no time to live", do: []string{"PERSIST @lending:receipts:page"}, want: []found{
		{"value", "lending:receipts:page", "", "", "", "", "it has no time to live, so this page of receipts would never be full"},
	}},
	{name: "the receipts have no time to live", do: []string{"PERSIST @lending:receipts"}, want: []found{
		{"value", "lending:receipts", "", "", "", "", "it has no time to live, so these receipts would stay where nobody decides any more"},
	}},
	{name: "the older receipts have no time to live", do: []string{"PERSIST @lending:receipts:older"}, want: []found{
		{"value", "lending:receipts:older", "", "", "", "", "it has no time to live, so these receipts would stay where nobody decides any more"},
	}},
	{name: "demand is no number", do: []string{"HSET @lending:demand held much"}, want: []found{
		{"value", "lending:demand", "held", "", "", "", `it should be a number, and is "much"`},
	}},
	{name: "faded demand is no number", do: []string{"HSET @lending:demand:faded held much"}, want: []found{
		{"value", "lending:demand:faded", "held", "", "", "", `it should be a number, and is "much"`},
	}},
	{name: "the clock is no number", do: []string{"SET @lending:clock noon"}, want: []found{
		{"value", "lending:clock", "", "", "", "", `it should be a number, and is "noon"`},
	}},
	{name: "the terms are gone", do: []string{"DEL @terms"}, want: []found{
		{"value", "terms", "", "", "", "terms *", "the library's terms are gone; an instance that starts sets them anew, as its flags say"},
	}},
	{name: "a term is missing", do: []string{"HDEL @terms time_zone"}, want: []found{
		{"value", "terms", "", "", "", "terms *", "its field time_zone is missing; an instance that starts sets it anew"},
	}},
	{name: "a term is no number", do: []string{"HSET @terms loans_max five"}, want: []found{
		{"value", "terms", "", "", "", "terms *", `its field loans_max should be a number, and is "five"`},
	}},
	{name: "a term is another's", do: []string{"HSET @terms loans_max 7"}, want: []found{
		{"value", "terms", "", "", "", "terms *", `its field loans_max is "7", and the log says "5"`},
	}},
	{name: "the time zone is another's", do: []string{"HSET @terms time_zone Europe/Berlin"}, want: []found{
		{"value", "terms", "", "", "", "terms *", `its field time_zone is "Europe/Berlin", and the log says "UTC"`},
	}},
	{name: "the terms are of another version", do: []string{"HSET @terms version 1-1"}, want: []found{
		{"value", "terms", "", "", "", "terms *", `its version is "1-1", and the log says "`},
	}},
	{name: "terms are forged", do: []string{`XADD @events * event terms by nobody from {"loans_max":5,"version":"1-1"} to {"loans_max":5,"loan_days":28,"front_max":20,"receipt_ms":3600000,"log_max":100000,"time_zone":"UTC"}`}, want: []found{
		{"log", "events", "", "", "", "terms *", "terms were set that follow on others than those of event "},
		{"value", "terms", "", "", "", "terms *", `its version is "`},
	}},
	{name: "an event tells of no terms", do: []string{`XADD @events * event terms by nobody from {} to {}`}, want: []found{
		{"log", "events", "", "", "", "terms *", "this entry cannot be understood: its terms cannot be read: there are none"},
	}},
	{name: "an entry is set aside of which nobody knows", do: []string{"XADD @lending:rejected * stream {main}:lending:requests entry 1-1 reason none .id r99 .user user9"}, want: []found{
		{"entry", "lending:rejected", "", "user9", "r99", "", `is set aside, but the log does not tell that entry "1-1" of`},
	}},
	{name: "a lock has no time to live", do: []string{"PERSIST @instance:worker1"}, want: []found{
		{"lock", "instance:worker1", "", "", "", "", "this lock has no time to live: when its instance dies, nobody could take the name, nor what is pending for it"},
	}},
	{name: "a lock lives longer than any may", do: []string{"PEXPIREAT @instance:worker1 32503680000999"}, want: []found{
		{"lock", "instance:worker1", "", "", "", "", "longer than any may (10m0s), as after Redis's clock was set back"},
	}},
	{name: "another lock has no time to live", do: []string{"SET @instance:worker9 token"}, want: []found{
		{"lock", "instance:worker9", "", "", "", "", "this lock has no time to live: when its instance dies, nobody could take the name, nor what is pending for it"},
	}},
	{name: "an entry is set aside on the shelves of which nobody knows", do: []string{"XADD @shelving:rejected * stream {main}:shelving:stores entry 1-1 reason none"}, want: []found{
		{"entry", "shelving:rejected", "", "", "", "", `is set aside, but the log does not tell that entry "1-1" of`},
	}},
	{name: "a worker is dead", do: []string{"DEL @instance:worker1"}, want: []found{
		{"pending", "lending:returns", "", "", "", "", `an entry is pending for the instance "worker1", which is dead, and nobody takes over; does an instance run that serves this inbox?`},
		{"pending", "shelving:fetches", "", "", "", "", `an entry is pending for the instance "worker1", which is dead, and nobody takes over; does an instance run that serves this inbox?`},
		{"pending", "shelving:stores", "", "", "", "", `2 entries are pending for the instance "worker1", which is dead, and nobody takes over; does an instance run that serves this inbox?`},
	}},
	{name: "a worker is started anew for the other service only", do: []string{`SET @instance:worker1 TOKENTOKENTOKENTOKENTOKENT{"services":["shelving"]} PX 60000`}, want: []found{
		{"pending", "lending:returns", "", "", "", "", `an entry is pending for the instance "worker1", which does not run the lending service any more, and nobody takes over; does an instance run that serves this inbox?`},
	}},
	{name: "an entry keeps coming back", do: []string{"XCLAIM @shelving:stores shelving worker1 0 ENTRY(shelving:stores,books) RETRYCOUNT 7 JUSTID"}, want: []found{
		{"pending", "shelving:stores", "", "", "", "", `was delivered 7 times and never finished; it is tried again at a slow pace; the log of the instance "worker1" tells why it fails`},
	}},
	{name: "the first event is deleted", do: []string{`XDEL @events ENTRY(events,"id":"r4")`}, onlyRedis: deletions, want: []found{
		{"log", "events", "", "", "", "deleted decided r4", "somebody deleted this entry from the log, and perhaps others before it"},
	}},
	{name: "an event in the middle is deleted", do: []string{"XDEL @events ENTRY(events,awaited)"}, onlyRedis: deletions, want: []found{
		{"log", "events", "", "", "", "deleted awaited r5", "somebody deleted this entry from the log, and perhaps others before it"},
		{"order", "shelving:awaited", "awaited", "user3", "r5", "decided r5", `it is awaited by order "r5" here; the log says by nobody`},
		{"order", "shelving:fetches", "awaited", "user3", "r5", "decided r5", `it waits here to be fetched for nobody; the log says for order "r5"`},
	}},
	{name: "the last event is deleted", do: []string{"XDEL @events ENTRY(events,retried)"}, onlyRedis: deletions, want: []found{
		{"log", "events", "", "", "", "deleted retried *", "somebody deleted this entry from the log, and perhaps others before it"},
	}},
	{name: "an event cannot be read", do: []string{"XADD @events * event decided receipts ["}, want: []found{
		{"log", "events", "", "", "", "decided *", "this entry cannot be understood: its receipts cannot be read: unexpected end of JSON input"},
	}},
	{name: "an event is of no kind", do: []string{`XADD @events * event burnt books ["geb"]`}, want: []found{
		{"log", "events", "", "", "", "burnt *", `this entry cannot be understood: it tells of "burnt", which is nothing that a library does`},
	}},
	{name: "an event has no receipts", do: []string{"XADD @events * event decided"}, want: []found{
		{"log", "events", "", "", "", "decided *", "this entry cannot be understood: its receipts cannot be read: unexpected end of JSON input"},
	}},
	{name: "an event moves a thing that is no order", do: []string{`XADD @events * event fetched orders [["r9"]]`}, want: []found{
		{"log", "events", "", "", "", "fetched r9", "this entry cannot be understood: an order in it is not a request and a book"},
	}},
	{name: "the log lends a book twice", do: []string{`XADD @events * event decided receipts [{"id":"r99","action":"request","user":"user4","books":["held"],"outcome":"granted","results":["front"],"due_ms":1797759634294}]`}, want: []found{
		{"book", "lending:loans", "held", "user1", "", "decided held", `it is lent to "user1" here; the log says it is lent to "user4"`},
		{"card", "lending:card:user1", "held", "user1", "", "decided held", `it is on this card; the log says it is lent to "user4"`},
		{"card", "lending:card:user4", "held", "user4", "", "decided held", `it is not on this card; the log says it is lent to "user4"`},
		{"log", "events", "held", "user4", "r99", "decided r99", `it was lent while it was lent to "user1"`},
		{"receipt", "lending:receipts", "", "user4", "r99", "decided r99", "its receipt is missing, though the log has its decision and it should still stand"},
	}},
	{name: "the log decides an order twice", do: []string{`XADD @events * event decided receipts [{"id":"r11","action":"request","user":"user4","books":["held"],"outcome":"denied","results":["unavailable"]}]`}, want: []found{
		{"receipt", "events", "", "user4", "r11", "decided r11", "it was decided a second time"},
	}},
	{name: "the log returns a book of another", do: []string{`XADD @events * event decided receipts [{"id":"r99","action":"return","user":"user4","books":["held"],"outcome":"returned","results":["returned"]}]`}, want: []found{
		{"book", "lending:front", "held", "", "", "decided held", "front storage does not have it; the log says it is in front storage"},
		{"book", "lending:loans", "held", "user1", "", "decided held", `it is lent to "user1" here; the log says it is lent to nobody`},
		{"card", "lending:card:user1", "held", "user1", "", "decided held", "it is on this card; the log says it is lent to nobody"},
		{"log", "events", "held", "user4", "r99", "decided r99", `it was taken back while it was lent to "user1"`},
		{"receipt", "lending:receipts", "", "user4", "r99", "decided r99", "its receipt is missing, though the log has its decision and it should still stand"},
	}},
	{name: "the log refuses a free book", do: []string{`XADD @events * event decided receipts [{"id":"r99","action":"request","user":"user4","books":["geb"],"outcome":"denied","results":["unavailable"]}]`}, want: []found{
		{"log", "events", "geb", "user4", "r99", "decided r99", "it was refused as not available while it was lent to nobody"},
		{"receipt", "lending:receipts", "", "user4", "r99", "decided r99", "its receipt is missing, though the log has its decision and it should still stand"},
	}},
	{name: "the log lends what is not in front", do: []string{`XADD @events * event decided receipts [{"id":"r99","action":"request","user":"user4","books":["geb"],"outcome":"granted","results":["front"],"due_ms":1797759634294}]`}, want: []found{
		{"book", "shelving:out:48481", "geb", "", "", "decided geb", "it is on the shelves here; the log says it is in the user's hands"},
		{"book", "lending:loans", "geb", "user4", "", "decided geb", `it is lent to nobody here; the log says it is lent to "user4"`},
		{"card", "lending:card:user4", "geb", "user4", "", "decided geb", `it is not on this card; the log says it is lent to "user4"`},
		{"count", "shelving:away", "", "", "", "decided books", "it counts 7 off the shelves, and by the log it should be 8"},
		{"log", "events", "geb", "user4", "r99", "decided r99", "it was lent from front storage while it was on the shelves"},
		{"receipt", "lending:receipts", "", "user4", "r99", "decided r99", "its receipt is missing, though the log has its decision and it should still stand"},
	}},
	{name: "the log refuses a lent book for the limit", do: []string{`XADD @events * event decided receipts [{"id":"r99","action":"request","user":"user4","books":["held"],"outcome":"denied","results":["over_limit"]}]`}, want: []found{
		{"log", "events", "held", "user4", "r99", "decided r99", `it was refused for the limit while it was lent to "user1"`},
		{"receipt", "lending:receipts", "", "user4", "r99", "decided r99", "its receipt is missing"},
	}},
	{name: "the log gives a user what another has", do: []string{`XADD @events * event decided receipts [{"id":"r99","action":"request","user":"user4","books":["held"],"outcome":"denied","results":["already_yours"]}]`}, want: []found{
		{"log", "events", "held", "user4", "r99", "decided r99", `it was said to be the user's already while it was lent to "user1"`},
		{"receipt", "lending:receipts", "", "user4", "r99", "decided r99", "its receipt is missing"},
	}},
	{name: "the log tells another time", do: []string{`XADD @events * event decided receipts [{"id":"r99","action":"request","user":"user1","books":["held"],"outcome":"denied","results":["already_yours:5"]}]`}, want: []found{
		{"log", "events", "held", "user1", "r99", "decided r99", "it was said to be due 1970-01-01 00:00:00.005"},
		{"receipt", "lending:receipts", "", "user1", "r99", "decided r99", "its receipt is missing"},
	}},
	{name: "the log does not know a user's own book", do: []string{`XADD @events * event decided receipts [{"id":"r99","action":"return","user":"user1","books":["held"],"outcome":"refused","results":["not_yours"]}]`}, want: []found{
		{"log", "events", "held", "user1", "r99", "decided r99", "it was refused as not the user"},
		{"receipt", "lending:receipts", "", "user1", "r99", "decided r99", "its receipt is missing"},
	}},
	{name: "the log refuses a book in hand as on its way", do: []string{`XADD @events * event decided receipts [{"id":"r99","action":"return","user":"user1","books":["held"],"outcome":"refused","results":["on_its_way"]}]`}, want: []found{
		{"log", "events", "held", "user1", "r99", "decided r99", `it was refused as on its way while it was lent to "user1" and in the user's hands`},
		{"receipt", "lending:receipts", "", "user1", "r99", "decided r99", "its receipt is missing"},
	}},
	{name: "the log takes a book back that is on its way", do: []string{`XADD @events * event decided receipts [{"id":"r99","action":"return","user":"user1","books":["arriving"],"outcome":"returned","results":["returned"]}]`}, want: []found{
		{"book", "lending:front", "arriving", "", "", "decided r99", "front storage does not have it; the log says it is in front storage"},
		{"book", "lending:loans", "arriving", "user1", "", "decided r99", `it is lent to "user1" here; the log says it is lent to nobody`},
		{"card", "lending:card:user1", "arriving", "user1", "", "decided r99", "it is on this card; the log says it is lent to nobody"},
		{"log", "events", "arriving", "user1", "r99", "decided r99", "it was taken back while it was on its way to the user"},
		{"order", "lending:deliveries", "arriving", "", "r6", "decided r99", `it is delivered here for order "r6"; the log says for nobody`},
		{"order", "lending:fetching", "arriving", "", "r6", "decided r99", `it is fetched for order "r6" here; the log says for nobody`},
		{"receipt", "lending:receipts", "", "user1", "r99", "decided r99", "its receipt is missing"},
	}},
	{name: "the log orders a book that is in front storage", do: []string{`XADD @events * event decided receipts [{"id":"r99","action":"request","user":"user4","books":["front"],"outcome":"granted","results":["shelves"],"due_ms":1797759634294}]`}, want: []found{
		{"book", "lending:loans", "front", "user4", "", "decided r99", `it is lent to nobody here; the log says it is lent to "user4"`},
		{"card", "lending:card:user4", "front", "user4", "", "decided r99", `it is not on this card; the log says it is lent to "user4"`},
		{"count", "shelving:away", "", "", "", "decided r99", "it counts 7 off the shelves, and by the log it should be 6"},
		{"log", "events", "front", "user4", "r99", "decided r99", "it was ordered from the shelves while it was in front storage"},
		{"order", "lending:fetching", "front", "user4", "r99", "decided r99", `it is fetched for nobody here; the log says for order "r99"`},
		{"order", "shelving:fetches", "front", "user4", "r99", "decided r99", `it waits here to be fetched for nobody; the log says for order "r99"`},
		{"receipt", "lending:receipts", "", "user4", "r99", "decided r99", "its receipt is missing"},
	}},
	{name: "a decision contradicts itself", do: []string{`XADD @events * event decided receipts [{"id":"r99","action":"request","user":"user4","books":["geb"],"outcome":"granted","results":["unavailable"]}]`}, want: []found{
		{"log", "events", "", "", "", "decided books", `this entry cannot be understood: the receipt of order "r99" in it cannot be: its outcome is "granted", but by its results it should be denied`},
	}},
	{name: "the log fetches a book in hand", do: []string{`XADD @events * event fetched orders [["r1","held"]]`}, want: []found{
		{"log", "events", "held", "user1", "r1", "fetched r1", "it was fetched while it was in the user's hands"},
		{"order", "lending:deliveries", "held", "user1", "r1", "fetched r1", `it is delivered here for nobody; the log says for order "r1", and that it is on its way to the user`},
	}},
	{name: "the log stores a book in hand", do: []string{`XADD @events * event stored books ["held"]`}, want: []found{
		{"book", "shelving:out:33918", "held", "", "", "stored held", "it is off the shelves here; the log says it is on the shelves"},
		{"count", "shelving:away", "", "", "", "stored *", "it counts 7 off the shelves, and by the log it should be 6"},
		{"log", "events", "held", "user1", "", "stored held", "it was stored while it was in the user's hands"},
	}},
	{name: "the log shelves a book in hand", do: []string{`XADD @events * event shelved books ["held"]`}, want: []found{
		{"book", "lending:loans", "held", "user1", "", "shelved held", `it is lent to "user1" here; the log says it is lent to nobody`},
		{"card", "lending:card:user1", "held", "user1", "", "shelved held", "it is on this card; the log says it is lent to nobody"},
		{"log", "events", "held", "user1", "", "shelved held", "it was shelved while it was in the user's hands"},
		{"order", "shelving:stores", "held", "", "", "shelved held", "no entry here puts it on the shelves; the log says it is on its way to the shelves"},
	}},
	{name: "the log delivers a book in hand", do: []string{`XADD @events * event delivered orders [["r1","held","user1"]]`}, want: []found{
		{"log", "events", "held", "user1", "r1", "delivered r1", "it was delivered while it was being fetched for nobody"},
		{"log", "events", "held", "user1", "r1", "delivered r1", "it was delivered while it was in the user's hands"},
	}},
	{name: "the log delivers for another order", do: []string{`XADD @events * event delivered orders [["r7","arriving","user1"]]`}, want: []found{
		{"log", "events", "arriving", "user1", "r7", "delivered r7", `it was delivered for this order while it was on its way for order "r6"`},
		{"order", "lending:deliveries", "arriving", "user1", "r6", "delivered arriving", `it is delivered here for order "r6"; the log says for nobody, and that it is in the user's hands`},
		{"order", "lending:fetching", "arriving", "user1", "r6", "delivered arriving", `it is fetched for order "r6" here; the log says for nobody`},
	}},
	{name: "the log delivers to another user", do: []string{`XADD @events * event delivered orders [["r6","arriving","user2"]]`}, want: []found{
		{"log", "events", "arriving", "user1", "r6", "delivered r6", `it was delivered as lent to "user2" while it was lent to "user1"`},
		{"order", "lending:deliveries", "arriving", "user1", "r6", "delivered r6", `it is delivered here for order "r6"; the log says for nobody, and that it is in the user's hands`},
		{"order", "lending:fetching", "arriving", "user1", "r6", "delivered r6", `it is fetched for order "r6" here; the log says for nobody`},
	}},
	{name: "the log sends a wanted book back", do: []string{`XADD @events * event sent_back orders [["r6","arriving","user1"]]`}, want: []found{
		{"log", "events", "arriving", "user1", "r6", "sent_back r6", "it was sent back while this order was waiting for it"},
		{"order", "shelving:stores", "arriving", "", "", "sent_back arriving", "no entry here puts it on the shelves; the log says it is on its way to the shelves"},
		{"order", "lending:deliveries", "arriving", "user1", "r6", "sent_back r6", `it is delivered here for order "r6"; the log says for nobody, and that it is on its way to the shelves`},
	}},
	{name: "the log stores an awaited book", do: []string{`XADD @events * event stored books ["awaited"]`}, want: []found{
		{"book", "shelving:out:32468", "awaited", "", "", "stored awaited", "it is off the shelves here; the log says it is on the shelves"},
		{"count", "shelving:away", "", "", "", "stored *", "it counts 7 off the shelves, and by the log it should be 6"},
		{"log", "events", "awaited", "user3", "", "stored awaited", `it was stored while order "r5" awaited it`},
		{"order", "shelving:stores", "awaited", "", "", "stored awaited", "an entry here puts it on the shelves; the log says it is on the shelves"},
		{"order", "shelving:awaited", "awaited", "user3", "r5", "stored awaited", `it is awaited by order "r5" here; the log says by nobody`},
	}},
	{name: "the log hands a book on to another order", do: []string{`XADD @events * event handed_on orders [["r2","awaited"]]`}, want: []found{
		{"log", "events", "awaited", "user3", "r2", "handed_on r2", "it was handed on to an order that did not await it"},
		{"order", "shelving:stores", "awaited", "", "", "handed_on awaited", "an entry here puts it on the shelves; the log says it is on its way to the user"},
		{"order", "lending:deliveries", "awaited", "user3", "r2", "handed_on r2", `it is delivered here for nobody; the log says for order "r2", and that it is on its way to the user`},
		{"order", "shelving:awaited", "awaited", "user3", "r5", "handed_on awaited", `it is awaited by order "r5" here; the log says by nobody`},
	}},
	{name: "the log awaits a book on the shelves", do: []string{`XADD @events * event awaited orders [["r9","coming"]]`}, want: []found{
		{"log", "events", "coming", "user1", "r9", "awaited r9", "it was awaited while it was on the shelves"},
		{"order", "shelving:awaited", "coming", "user1", "r9", "awaited r9", `it is awaited by nobody here; the log says by order "r9"`},
		{"order", "shelving:awaited", "coming", "user1", "r9", "awaited r9", "it is awaited for ever: it is not on its way to the shelves, but on the shelves"},
		{"order", "shelving:fetches", "coming", "user1", "r9", "awaited r9", `it waits here to be fetched for order "r9"; the log says for nobody`},
	}},
}

const deletions = "the embedded server does not tell what was deleted"
