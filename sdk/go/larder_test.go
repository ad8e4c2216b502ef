//go:build !wasip1

package larder

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
)

func TestAmountsAreTextOfTwoDecimals(t *testing.T) {
	for text, hundredths := range map[string]int64{"0": 0, "12": 1200, "12.5": 1250, "12.50": 1250, "007.01": 701} {
		amount, err := ParseAmount(text)
		if err != nil || amount.Hundredths() != hundredths {
			t.Errorf("%s: %v, %v", text, amount, err)
		}
	}
	for _, text := range []string{"", ".", "1.", ".5", "1.005", "-1", "+1", "1e3", "1,5", " 1", "1 ", "٣", "99999999999999999999"} {
		if amount, err := ParseAmount(text); err == nil {
			t.Errorf("%q is %v", text, amount)
		}
	}
	for hundredths, text := range map[int64]string{
		5: "0.05", -5: "-0.05", 1250: "12.50", math.MinInt64: "-92233720368547758.08",
	} {
		if is := Hundredths(hundredths).String(); is != text {
			t.Errorf("%d: %s", hundredths, is)
		}
	}
	for hundredths, missing := range map[int64]int64{0: 0, 1: 999, 1000: 0, 1001: 999, -1: 1, -999: 999, -1000: 0} {
		if is := Hundredths(hundredths).ToNext(Hundredths(1000)); is.Hundredths() != missing {
			t.Errorf("%d: %v", hundredths, is)
		}
	}
}

func TestAmountsInJSONAreText(t *testing.T) {
	var amount Amount
	if err := json.Unmarshal([]byte(`"12.50"`), &amount); err != nil || amount != Hundredths(1250) {
		t.Error(amount, err)
	}
	for _, data := range []string{`12.50`, `12`, `""`, `"12.505"`, `{}`, `true`} {
		var rejected rejection
		if err := json.Unmarshal([]byte(data), &amount); !errors.As(err, &rejected) {
			t.Errorf("%s: %v, %v", data, amount, err)
		}
	}
	if data, _ := json.Marshal(amount); string(data) != `"12.50"` {
		t.Errorf("%s", data)
	}
}

func TestWhatAFailedRunDidIsNotThere(t *testing.T) {
	var machine Machine
	run := func(end error) Ran {
		return machine.Run(func(Event) error {
			if err := errors.Join(IncrementState("runs", "1"), SaveFor("anna", Hundredths(1), "SEK", "")); err != nil {
				return err
			}
			return end
		}, Event{}, nil)
	}
	if ran := run(nil); len(ran.Saved) != 1 || ran.Saved[0] != "0.01 SEK" {
		t.Errorf("%+v", ran)
	}
	if ran := run(Reject("no")); ran.Rejected != "no" || ran.Saved != nil {
		t.Errorf("%+v", ran)
	}
	if ran := run(errors.New("later")); ran.Retry != "later" || ran.Saved != nil {
		t.Errorf("%+v", ran)
	}
	if runs := string(machine.State("runs")); runs != "1" {
		t.Error(runs)
	}
	for _, save := range []func() error{
		func() error { return Save(Hundredths(1), "SEK", "") },
		func() error { return SaveFor("anna", Hundredths(0), "SEK", "") },
		func() error { return SaveFor("anna", Hundredths(-1), "SEK", "") },
		func() error { return SaveFor("anna", Hundredths(1), "kronor", "") },
	} {
		if ran := machine.Run(func(Event) error { return save() }, Event{}, nil); ran.Rejected == "" {
			t.Errorf("%+v", ran)
		}
	}
}

func TestAnswersAreWhatCGIHas(t *testing.T) {
	var machine Machine
	handle := func(request Request) Response {
		if err := IncrementState("asked", "1"); err != nil {
			panic(err)
		}
		if request.Method == "PUT" {
			return Text(503, "later")
		}
		response := JSON(201, request.Query().Get("q"))
		response.Headers = map[string]string{"X-B": "2", "X-A": "1"}
		return response
	}
	response, _ := machine.Serve(handle, Request{Method: "GET", RawQuery: "q=%C3%A5+1"})
	if said := string(response.bytes()); said != "Status: 201\nContent-Type: application/json\nX-A: 1\nX-B: 2\n\n\"å 1\"" {
		t.Errorf("%q", said)
	}
	machine.Serve(handle, Request{Method: "PUT"})
	if asked := string(machine.State("asked")); asked != "1" {
		t.Error(asked)
	}
	if said := string(Response{}.bytes()); said != "Status: 204\n\n" {
		t.Errorf("%q", said)
	}
	defer func() {
		if recover() == nil {
			t.Error("a header with a line break is taken")
		}
	}()
	Response{Headers: map[string]string{"X": "a\r\nSet-Cookie: b"}}.bytes()
}

type kind string

func (kind) Words() []string { return []string{"chip", "contact-less"} }

type bought struct {
	Amount Amount            `json:"amount"`
	Kind   kind              `json:"kind"`
	Lines  []line            `json:"lines"`
	Points *int64            `json:"points,omitempty"`
	Extra  map[string]string `json:"extra,omitempty"`
}

type line struct {
	SKU string `json:"sku"`
}

func TestDataAreReadOrTheirPlaceIsNamed(t *testing.T) {
	read := func(data string) (bought, string) {
		it, err := Read[bought](Event{ID: "1", Data: []byte(data)})
		if err == nil {
			return it, ""
		}
		var rejected rejection
		if !errors.As(err, &rejected) {
			t.Errorf("%s asks for another run: %v", data, err)
		}
		return it, err.Error()
	}
	whole := `{"amount":"12.50","kind":"contact-less","lines":[{"sku":"a"}],"points":null}`
	if it, why := read(whole); why != "" || it.Amount != Hundredths(1250) || it.Lines[0].SKU != "a" || it.Points != nil {
		t.Errorf("%+v %s", it, why)
	}
	for data, said := range map[string]string{
		`{"kind":"chip","lines":[]}`:                              "data.amount is missing",
		`{"amount":null,"kind":"chip","lines":[]}`:                "text",
		`{"amount":12.5,"kind":"chip","lines":[]}`:                "12.5 is no amount",
		`{"amount":"1","kind":"cash","lines":[]}`:                 "data.kind must be one of chip, contact-less, not \"cash\"",
		`{"amount":"1","kind":"chip"}`:                            "data.lines is missing",
		`{"amount":"1","kind":"chip","lines":[{"sku":"a"},{}]}`:   "data.lines[1].sku is missing",
		`{"amount":"1","kind":"chip","lines":[],"points":"many"}`: "data.points must be int64, not string",
		`{"amount":"1","kind":"chip","lines":[],"extra":{"a":1}}`: "data.extra",
		`[]`: "data",
		`{`:  "do not fit",
	} {
		if _, why := read(data); !strings.Contains(why, said) {
			t.Errorf("%s: %s", data, why)
		}
	}
}
