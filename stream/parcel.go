package stream

import "example.com/library/library"

// A Parcel is an entry by which the services tell each other of one book: an
// order, a delivery, or a book to put away.
type Parcel struct {
	Entry Entry
	// Request is the id of the request the book is for; empty for one to put away.
	Request string
	Book    string
}

// ReadParcels understands the entries of a batch, and rejects those it cannot.
// withRequest says whether they must name a request.
func ReadParcels(batch []Entry, withRequest bool) ([]Parcel, []Rejection) {
	var parcels []Parcel
	var rejections []Rejection
	for _, entry := range batch {
		parcel, err := readParcel(entry, withRequest)
		if err != nil {
			rejections = append(rejections, Reject(entry, err.Error()))
			continue
		}
		parcels = append(parcels, parcel)
	}
	return parcels, rejections
}

func readParcel(entry Entry, withRequest bool) (Parcel, error) {
	parcel := Parcel{Entry: entry}
	var err error
	if withRequest {
		if parcel.Request, err = entry.Field("request"); err != nil {
			return parcel, err
		}
		if err := library.CheckID("request", parcel.Request); err != nil {
			return parcel, err
		}
	}
	if parcel.Book, err = entry.Field("book"); err != nil {
		return parcel, err
	}
	return parcel, library.CheckName("book", parcel.Book)
}
