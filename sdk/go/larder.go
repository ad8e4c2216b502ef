// Package larder is what a function in Go has beside the standard library: events, money, and what a run may do.
//
// A function is a program for wasip1. Larder runs it once for each event, as a CGI program; [OnEvent] speaks that. What a run
// did is applied when it ends well, or not at all. What the code calls is what the function imports, and needs a grant.
package larder

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
)

// Event is a CloudEvent.
type Event struct {
	// ID is unique for its source.
	ID     string
	Source string
	// Type is what happened: card.purchase.
	Type string
	// Subject is whom or what it is about; empty if it does not say.
	Subject string
	// Time is in RFC 3339, in UTC.
	Time            string
	DataContentType string
	Data            []byte
}

// Enrolment is whom a run is for.
type Enrolment struct {
	// EndUser is a pseudonym: the same in every run of this function, another in every other function.
	EndUser string
	Topic   string
	// Settings is what the end user chose, as JSON.
	Settings string
}

// Entry is a value of the state and its key.
type Entry struct {
	Key   string
	Value []byte
}

type rejection struct{ why string }

func (it rejection) Error() string { return it.why }

// Reject says that this event will never do. Every other error has the run tried again later.
func Reject(format string, arguments ...any) error {
	return rejection{fmt.Sprintf(format, arguments...)}
}

// OnEvent is the main of a function that handles events. What the handler prints goes to the log.
func OnEvent(handle func(Event) error) {
	answer := os.Stdout
	os.Stdout = os.Stderr
	event, err := received()
	if err == nil {
		err = handle(event)
	}
	var rejected rejection
	switch {
	case err == nil:
		fmt.Fprint(answer, "Status: 204\n\n")
	case errors.As(err, &rejected):
		fmt.Fprintf(answer, "Status: 422\nContent-Type: text/plain\n\n%s", err)
	default:
		fmt.Fprintf(answer, "Status: 503\nContent-Type: text/plain\n\n%s", err)
	}
}

// received is the event of this run: CloudEvents in binary mode, in the environment and on stdin.
func received() (Event, error) {
	event := Event{DataContentType: os.Getenv("CONTENT_TYPE")}
	for name, field := range map[string]*string{
		"ID": &event.ID, "SOURCE": &event.Source, "TYPE": &event.Type, "SUBJECT": &event.Subject, "TIME": &event.Time,
	} {
		value, err := url.PathUnescape(os.Getenv("HTTP_CE_" + name))
		if err != nil {
			return event, Reject("the event's %s: %v", name, err)
		}
		*field = value
	}
	if event.ID == "" || event.Type == "" {
		return event, Reject("this function handles events, and this is none")
	}
	var err error
	event.Data, err = io.ReadAll(os.Stdin)
	return event, err
}

// Save creates a transaction for the end user whom this run is for.
func Save(amount Amount, currency, memo string) error {
	return createTransaction("", amount.String(), currency, memo)
}

// SaveFor does so in a run that is for nobody, for somebody who is enrolled in this function.
func SaveFor(endUser string, amount Amount, currency, memo string) error {
	if endUser == "" {
		return Reject("a saving for nobody")
	}
	return createTransaction(endUser, amount.String(), currency, memo)
}
