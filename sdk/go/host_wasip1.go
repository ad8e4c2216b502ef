package larder

import (
	"errors"
	"runtime/debug"
	"sync"
	"unsafe"
)

// The interfaces of larder.wit under their canonical names. The last parameter is where the result goes.

//go:wasmimport larder:function/savings@0.1.0 create-transaction
func savingsCreate(isFor uint32, endUser, amount, currency string, hasMemo uint32, memo string, to unsafe.Pointer)

//go:wasmimport larder:function/state@0.1.0 get
func stateGet(key string, to unsafe.Pointer)

//go:wasmimport larder:function/state@0.1.0 set
func stateSet(key, value string, to unsafe.Pointer)

//go:wasmimport larder:function/state@0.1.0 delete
func stateDelete(key string, to unsafe.Pointer)

//go:wasmimport larder:function/state@0.1.0 increment
func stateIncrement(key, by string, to unsafe.Pointer)

//go:wasmimport larder:function/state@0.1.0 list
func stateList(prefix string, isAfter uint32, after string, to unsafe.Pointer)

//go:wasmimport larder:function/events@0.1.0 emit
func eventsEmit(kind string, hasSubject uint32, subject, contentType, data string, to unsafe.Pointer)

//go:wasmimport larder:function/enrolment@0.1.0 current
func enrolmentCurrent(to unsafe.Pointer)

//go:wasmimport larder:function/signing@0.1.0 sign
func signingSign(upstream, data string, to unsafe.Pointer)

// words are a result in memory, as the canonical ABI lays it out: tags are bytes, pointers and lengths are words.
type words [7]uint32

func (it *words) tag(at int) bool { return byte(it[at]) != 0 }

var (
	// one call at a time: what the host wrote is ours until it was copied.
	one sync.Mutex
	// given keeps what the host writes to from being collected.
	given [][]uint64
)

// The host takes memory for what it gives back.
//
//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	memory := make([]uint64, size/8+1)
	given = append(given, memory)
	start := unsafe.Pointer(unsafe.SliceData(memory))
	if old != nil {
		copy(unsafe.Slice((*byte)(start), size), unsafe.Slice((*byte)(old), oldSize))
	}
	return start
}

func call[T any](ask func(to unsafe.Pointer), read func(*words) (T, error)) (T, error) {
	one.Lock()
	defer one.Unlock()
	// While realloc runs nothing may be called outside. The garbage collector would: it asks for the time.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	// On the heap: a stack moves when it grows.
	result := new(words)
	ask(unsafe.Pointer(result))
	defer func() { given = nil }()
	return read(result)
}

// text copies a string that the host wrote.
func text(pointer, length uint32) string {
	for _, memory := range given {
		start := unsafe.Pointer(unsafe.SliceData(memory))
		if at := uint64(pointer) - uint64(uintptr(start)); at < uint64(len(memory))*8 {
			return string(unsafe.Slice((*byte)(unsafe.Add(start, at)), length))
		}
	}
	// Of nothing the host takes no memory.
	return ""
}

// done is a result without a value, or with one that is a string.
func done(result *words) (string, error) {
	if result.tag(0) {
		return "", errors.New(text(result[1], result[2]))
	}
	return text(result[1], result[2]), nil
}

func nothing(result *words) (string, error) {
	if result.tag(0) {
		return done(result)
	}
	return "", nil
}

func flag(is bool) uint32 {
	if is {
		return 1
	}
	return 0
}

func createTransaction(endUser, amount, currency, memo string) error {
	_, err := call(func(to unsafe.Pointer) {
		savingsCreate(flag(endUser != ""), endUser, amount, currency, flag(memo != ""), memo, to)
	}, done)
	if err != nil {
		return Reject("%v", err)
	}
	return nil
}

// State is the value under a key; nil if there is none.
func State(key string) ([]byte, error) {
	return call(func(to unsafe.Pointer) { stateGet(key, to) }, func(result *words) ([]byte, error) {
		if result.tag(0) {
			_, err := done(result)
			return nil, err
		}
		if !result.tag(1) {
			return nil, nil
		}
		return []byte(text(result[2], result[3])), nil
	})
}

// SetState writes a value of up to 65,536 bytes.
func SetState(key string, value []byte) error {
	_, err := call(func(to unsafe.Pointer) { stateSet(key, string(value), to) }, nothing)
	return err
}

// DeleteState removes a value.
func DeleteState(key string) error {
	_, err := call(func(to unsafe.Pointer) { stateDelete(key, to) }, nothing)
	return err
}

// IncrementState adds a whole number, as text, to the one under the key. It never makes the run conflict with another.
func IncrementState(key, by string) error {
	_, err := call(func(to unsafe.Pointer) { stateIncrement(key, by, to) }, nothing)
	return err
}

// ListState gives up to 100 entries whose keys begin with the prefix, behind after, in the order of their keys.
func ListState(prefix, after string) ([]Entry, error) {
	return call(func(to unsafe.Pointer) { stateList(prefix, flag(after != ""), after, to) }, func(result *words) ([]Entry, error) {
		if result.tag(0) {
			_, err := done(result)
			return nil, err
		}
		var entries []Entry
		for _, memory := range given {
			start := unsafe.Pointer(unsafe.SliceData(memory))
			if uint32(uintptr(start)) != result[1] {
				continue
			}
			for _, it := range unsafe.Slice((*[4]uint32)(start), result[2]) {
				entries = append(entries, Entry{text(it[0], it[1]), []byte(text(it[2], it[3]))})
			}
		}
		return entries, nil
	})
}

// Emit sends an event when the run ends well, and gives its id. It is about nobody if subject is empty.
func Emit(kind, subject, contentType string, data []byte) (string, error) {
	return call(func(to unsafe.Pointer) { eventsEmit(kind, flag(subject != ""), subject, contentType, string(data), to) }, done)
}

// CurrentEnrolment is whom the run is for; nil if it is for nobody.
func CurrentEnrolment() *Enrolment {
	current, _ := call(enrolmentCurrent, func(result *words) (*Enrolment, error) {
		if !result.tag(0) {
			return nil, nil
		}
		return &Enrolment{text(result[1], result[2]), text(result[3], result[4]), text(result[5], result[6])}, nil
	})
	return current
}

// Sign is the HMAC-SHA256 of the data under the signing key of an upstream.
func Sign(upstream string, data []byte) ([]byte, error) {
	signed, err := call(func(to unsafe.Pointer) { signingSign(upstream, string(data), to) }, done)
	return []byte(signed), err
}
