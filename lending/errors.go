package lending

import "errors"

var (
	// ErrOrder is returned when a request or a return cannot be sent as it is: no
	// book, too many books, or a name that breaks the rules. Nothing was sent.
	ErrOrder = errors.New("not a usable order")

	// ErrNotSent is returned when a request or a return did not reach the library
	// in time. It had no effect.
	ErrNotSent = errors.New("not sent")

	// ErrBusy is returned when so many orders wait already that another would wait for
	// long. Nothing was sent; try again later.
	ErrBusy = errors.New("the library is busy")

	// ErrUnknown is returned when the answer did not come in time. The request or
	// return may still take effect; asking again with its id tells.
	ErrUnknown = errors.New("the answer is not known yet")

	// ErrForgotten is returned with ErrUnknown when nothing is left of a request or a
	// return, and it was sent so long ago that its receipt may have ended. It may have
	// taken effect, and could take effect again, so the client does not send it again.
	ErrForgotten = errors.New("it was sent too long ago to be sent again, and nothing is left of it")

	// ErrNoReceipt is returned when there is no receipt with that id: the request
	// was not decided yet, or so long ago that its receipt is gone, or never sent.
	ErrNoReceipt = errors.New("no receipt with this id")

	// ErrOtherOrder is returned when an id was used before, for another order. The
	// order sent with it now had no effect.
	ErrOtherOrder = errors.New("this id belongs to another order")
)
