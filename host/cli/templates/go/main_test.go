//go:build !wasip1

package main

import (
	"slices"
	"testing"

	"larder"
)

func bought(data string) larder.Ran {
	event := larder.Event{ID: "1", Type: "card.purchase", Data: []byte(data)}
	return new(larder.Machine).Run(roundUp, event, &larder.Enrolment{EndUser: "anna", Topic: "card-1"})
}

func TestSavesWhatIsMissingToTheNextTen(t *testing.T) {
	for amount, saved := range map[string][]string{"42.50": {"7.50 SEK"}, "40.01": {"9.99 SEK"}, "40": nil} {
		ran := bought(`{"amount": "` + amount + `", "currency": "SEK"}`)
		if !slices.Equal(ran.Saved, saved) || ran.Rejected != "" {
			t.Errorf("%s: %+v", amount, ran)
		}
	}
}

func TestRejectsWhatIsNoPurchase(t *testing.T) {
	for _, data := range []string{`{}`, `{"amount": 42.5, "currency": "SEK"}`, `{"amount": "1.005", "currency": "SEK"}`, `[`} {
		if ran := bought(data); ran.Rejected == "" || ran.Saved != nil {
			t.Errorf("%s: %+v", data, ran)
		}
	}
}
