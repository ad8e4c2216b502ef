//go:build !wasip1

package larder

import (
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
)

// A double of Larder, for tests that run on this machine.

// Ran is what one run did. Nothing of one that failed.
type Ran struct {
	// Saved has texts such as "7.50 SEK", in the order of the calls.
	Saved []string
	// Emitted has the types of the events.
	Emitted []string
	// Rejected or Retry says why the event was not handled.
	Rejected, Retry string
}

// Machine keeps what runs leave behind.
type Machine struct {
	state map[string][]byte
}

type run struct {
	ran       Ran
	state     map[string][]byte
	enrolment *Enrolment
}

var current *run

// Run runs the handler for an event, and for an enrolment unless that is nil.
func (it *Machine) Run(handle func(Event) error, event Event, enrolment *Enrolment) Ran {
	current = &run{state: maps.Clone(it.state), enrolment: enrolment}
	if current.state == nil {
		current.state = map[string][]byte{}
	}
	defer func() { current = nil }()
	err := handle(event)
	var rejected rejection
	switch {
	case err == nil:
		it.state = current.state
		return current.ran
	case errors.As(err, &rejected):
		return Ran{Rejected: err.Error()}
	default:
		return Ran{Retry: err.Error()}
	}
}

// Serve has a request answered. Nothing of the run is there if the status is 500 or above.
func (it *Machine) Serve(handle func(Request) Response, request Request) (Response, Ran) {
	current = &run{state: maps.Clone(it.state)}
	if current.state == nil {
		current.state = map[string][]byte{}
	}
	defer func() { current = nil }()
	response := handle(request)
	// What no answer can be is found here as well.
	response.bytes()
	if response.Status >= 500 {
		return response, Ran{}
	}
	it.state = current.state
	return response, current.ran
}

// State is what a run has left under a key; nil if nothing.
func (it *Machine) State(key string) []byte { return it.state[key] }

func running() *run {
	if current == nil {
		panic("larder: this is called in a run only; a test begins one by Machine.Run")
	}
	return current
}

func createTransaction(endUser, amount, currency, memo string) error {
	run := running()
	parsed, err := ParseAmount(amount)
	switch {
	case err != nil:
		return err
	case parsed.IsZero():
		return Reject("an amount is more than zero")
	case len(currency) != 3 || strings.Trim(currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "":
		return Reject("%q is no currency", currency)
	case len([]rune(memo)) > 200:
		return Reject("a memo has up to 200 characters")
	case run.enrolment != nil && endUser != "" && endUser != run.enrolment.EndUser:
		return Reject("a run for an enrolment saves for its own end user only")
	case run.enrolment == nil && endUser == "":
		return Reject("this run is for nobody: say for whom it saves")
	}
	run.ran.Saved = append(run.ran.Saved, amount+" "+currency)
	return nil
}

func checkKey(key string) error {
	if length := len([]rune(key)); length < 1 || length > 255 {
		return errors.New("a key has 1 to 255 characters")
	}
	return nil
}

// State is the value under a key; nil if there is none.
func State(key string) ([]byte, error) {
	return slices.Clone(running().state[key]), checkKey(key)
}

// SetState writes a value of up to 65,536 bytes.
func SetState(key string, value []byte) error {
	if len(value) > 65_536 {
		return errors.New("a value has up to 65,536 bytes")
	}
	running().state[key] = append([]byte{}, value...)
	return checkKey(key)
}

// DeleteState removes a value.
func DeleteState(key string) error {
	delete(running().state, key)
	return checkKey(key)
}

// IncrementState adds a whole number, as text, to the one under the key. It never makes the run conflict with another.
func IncrementState(key, by string) error {
	state := running().state
	sum, good := new(big.Int).SetString(by, 10)
	if !good {
		return fmt.Errorf("%q is no whole number", by)
	}
	if value, found := state[key]; found {
		old, good := new(big.Int).SetString(string(value), 10)
		if !good {
			return fmt.Errorf("there is no whole number under %q", key)
		}
		sum.Add(sum, old)
	}
	state[key] = []byte(sum.String())
	return checkKey(key)
}

// ListState gives up to 100 entries whose keys begin with the prefix, behind after, in the order of their keys.
func ListState(prefix, after string) ([]Entry, error) {
	state := running().state
	var entries []Entry
	for _, key := range slices.Sorted(maps.Keys(state)) {
		if strings.HasPrefix(key, prefix) && key > after && len(entries) < 100 {
			entries = append(entries, Entry{key, slices.Clone(state[key])})
		}
	}
	return entries, nil
}

// Emit sends an event when the run ends well, and gives its id. It is about nobody if subject is empty.
func Emit(kind, subject, contentType string, data []byte) (string, error) {
	run := running()
	run.ran.Emitted = append(run.ran.Emitted, kind)
	return fmt.Sprintf("event-%d", len(run.ran.Emitted)), nil
}

// CurrentEnrolment is whom the run is for; nil if it is for nobody.
func CurrentEnrolment() *Enrolment { return running().enrolment }

// Sign is the HMAC-SHA256 of the data under the signing key of an upstream.
func Sign(upstream string, data []byte) ([]byte, error) {
	return nil, errors.New("there are no keys in a test")
}
