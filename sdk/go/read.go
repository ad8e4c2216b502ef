package larder

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Read reads the data of an event into a type of the project's events, or any other. What is missing, of another type, or none of
// its words rejects the event with its place; only members that may be left out (omitempty) may be.
func Read[T any](event Event) (T, error) {
	var data T
	var as *json.UnmarshalTypeError
	switch err := json.Unmarshal(event.Data, &data); {
	case errors.As(err, &as):
		return data, Reject("data.%s must be %s, not %s", as.Field, as.Type, as.Value)
	case err != nil:
		return data, Reject("the data of event %s do not fit: %v", event.ID, err)
	}
	if why := unfit(reflect.ValueOf(data), event.Data, "data"); why != "" {
		return data, Reject("%s", why)
	}
	return data, nil
}

// unfit says what a value that was read lacks of its type: encoding/json takes what is missing for empty.
func unfit(value reflect.Value, raw json.RawMessage, path string) string {
	if value.Kind() == reflect.Pointer {
		if value.IsNil() {
			return ""
		}
		return unfit(value.Elem(), raw, path)
	}
	if _, isAmount := value.Interface().(Amount); isAmount {
		return ""
	}
	if words, ok := value.Interface().(interface{ Words() []string }); ok {
		if slices.Contains(words.Words(), value.String()) {
			return ""
		}
		return fmt.Sprintf("%s must be one of %s, not %q", path, strings.Join(words.Words(), ", "), value.String())
	}
	switch value.Kind() {
	case reflect.Struct:
		return unfitStruct(value, raw, path)
	case reflect.Slice:
		var items []json.RawMessage
		if value.Type().Elem().Kind() == reflect.Uint8 || json.Unmarshal(raw, &items) != nil || len(items) != value.Len() {
			return ""
		}
		for at := range items {
			if why := unfit(value.Index(at), items[at], fmt.Sprintf("%s[%d]", path, at)); why != "" {
				return why
			}
		}
	case reflect.Map:
		var members map[string]json.RawMessage
		if json.Unmarshal(raw, &members) != nil || value.Type().Key().Kind() != reflect.String {
			return ""
		}
		for name, member := range members {
			key := reflect.ValueOf(name).Convert(value.Type().Key())
			if why := unfit(value.MapIndex(key), member, path+"."+name); why != "" {
				return why
			}
		}
	}
	return ""
}

func unfitStruct(value reflect.Value, raw json.RawMessage, path string) string {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return ""
	}
	for at := range value.NumField() {
		name, rest, _ := strings.Cut(value.Type().Field(at).Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		member, isThere := members[name]
		if !isThere || bytes.Equal(member, []byte("null")) {
			if strings.Contains(rest, "omitempty") {
				continue
			}
			return fmt.Sprintf("%s.%s is missing", path, name)
		}
		if why := unfit(value.Field(at), member, path+"."+name); why != "" {
			return why
		}
	}
	return ""
}
