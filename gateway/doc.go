// Package gateway shows a library to people and programs that do not speak Redis: by
// HTTP, as a live page, a feed of events, the present state, and what other files of this
// package add. It decides nothing and owns no books. It asks the services as getbooks
// does, and reads as lendingd status does.
//
// A file has one subject and adds its own routes, see Server.routes. Each route says who
// may see it, see access. What costs Redis something is read once for all who look. The
// log is followed as long as the gateway runs, and the state is read every few seconds, for
// the charts; more often only while somebody looks.
//
// # Who may see what
//
// Without a token the gateway listens on loopback only, and whoever connects from there is
// staff. With one, whoever shows it is staff: a program as a bearer token, a browser as a
// cookie that it was given for the token. Everybody else sees figures and no names. A
// request under a host name that is not the gateway's own is refused, and so is one that
// changes something and was sent by a page of another origin: no page elsewhere can lend a
// book through a reader's browser.
//
// # When Redis is away
//
// Every page and answer says so, and the gateway goes on by itself when Redis is back. A
// browser's feed goes on after the last event that the browser has seen. If the log was cut
// meanwhile, the feed tells from where to where.
package gateway
