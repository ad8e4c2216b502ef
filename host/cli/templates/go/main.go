// Saves what is missing to the next ten of each purchase.
package main

import (
	"encoding/json"
	"fmt"

	"larder"
)

type purchase struct {
	Amount   *larder.Amount
	Currency string
}

func main() { larder.OnEvent(roundUp) }

func roundUp(event larder.Event) error {
	var bought purchase
	if err := json.Unmarshal(event.Data, &bought); err != nil {
		return larder.Reject("not a purchase: %v", err)
	}
	if bought.Amount == nil {
		return larder.Reject("not a purchase: it has no amount")
	}
	saving := bought.Amount.ToNext(larder.Hundredths(10_00))
	if saving.IsZero() {
		return nil
	}
	if err := larder.Save(saving, bought.Currency, "Round-up"); err != nil {
		return err
	}
	fmt.Println("saved", saving, bought.Currency)
	return nil
}
