package larder

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Amount is money in whole hundredths. It is never a float, and no number becomes one by itself.
type Amount struct{ hundredths int64 }

// Hundredths is the amount of so many hundredths.
func Hundredths(hundredths int64) Amount { return Amount{hundredths} }

// Hundredths is how many of them the amount has.
func (it Amount) Hundredths() int64 { return it.hundredths }

// ParseAmount reads decimal text with up to two decimals, as in 12.5, of zero or more.
func ParseAmount(text string) (Amount, error) {
	whole, fraction, pointed := strings.Cut(text, ".")
	digits := func(text string) bool { return text != "" && strings.Trim(text, "0123456789") == "" }
	if !digits(whole) || pointed && !digits(fraction) || len(fraction) > 2 {
		return Amount{}, Reject("%q is no amount: decimal text as in \"12.50\"", text)
	}
	hundredths, err := strconv.ParseInt(whole+(fraction + "00")[:2], 10, 64)
	if err != nil {
		return Amount{}, Reject("%q is no amount: %v", text, err)
	}
	return Amount{hundredths}, nil
}

// String is decimal text such as 12.50.
func (it Amount) String() string {
	sign, left := "", uint64(it.hundredths)
	if it.hundredths < 0 {
		sign, left = "-", -left
	}
	return fmt.Sprintf("%s%d.%02d", sign, left/100, left%100)
}

// IsZero says whether there is nothing.
func (it Amount) IsZero() bool { return it.hundredths == 0 }

// ToNext is what is missing to the next multiple of step; nothing if it is one. It panics unless step is more than zero.
func (it Amount) ToNext(step Amount) Amount {
	if step.hundredths <= 0 {
		panic("larder: a step of " + step.String())
	}
	rest := it.hundredths % step.hundredths
	if rest > 0 {
		rest -= step.hundredths
	}
	return Amount{-rest}
}

// Add is the sum. It panics where the sum does not fit.
func (it Amount) Add(other Amount) Amount {
	if other.hundredths > 0 && it.hundredths > math.MaxInt64-other.hundredths ||
		other.hundredths < 0 && it.hundredths < math.MinInt64-other.hundredths {
		panic("larder: an amount that is too large")
	}
	return Amount{it.hundredths + other.hundredths}
}

// MarshalJSON writes text.
func (it Amount) MarshalJSON() ([]byte, error) { return json.Marshal(it.String()) }

// UnmarshalJSON reads text, and nothing else: a number where an amount belongs is refused.
func (it *Amount) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil || string(data) == "null" {
		return Reject("%s is no amount: it is text, as in \"12.50\"", data)
	}
	parsed, err := ParseAmount(text)
	if err == nil {
		*it = parsed
	}
	return err
}
