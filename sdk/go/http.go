package larder

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
)

// Request is an HTTP request. Events are requests as well, POST / with the header ce-id.
type Request struct {
	Method string
	// Path is decoded.
	Path string
	// RawQuery is as it came, without the question mark.
	RawQuery string
	// Headers have their names in lower case.
	Headers map[string]string
	Body    []byte
}

// Query is what is asked for, decoded.
func (it Request) Query() url.Values {
	values, _ := url.ParseQuery(it.RawQuery)
	return values
}

// Response is the answer to a request. Nothing of a run is applied if its status is 500 or above.
type Response struct {
	// Status is 204 if it is 0.
	Status      int
	ContentType string
	Headers     map[string]string
	Body        []byte
}

// Text answers with text.
func Text(status int, format string, arguments ...any) Response {
	return Response{Status: status, ContentType: "text/plain;charset=utf-8", Body: fmt.Appendf(nil, format, arguments...)}
}

// JSON answers with a value. It panics where that cannot be JSON.
func JSON(status int, value any) Response {
	body, err := json.Marshal(value)
	if err != nil {
		panic("larder: " + err.Error())
	}
	return Response{Status: status, ContentType: "application/json", Body: body}
}

// OnRequest is the main of a function that answers requests. What the handler prints goes to the log.
func OnRequest(handle func(Request) Response) {
	answer := os.Stdout
	os.Stdout = os.Stderr
	body, err := io.ReadAll(os.Stdin)
	if err != nil {
		// A body that was cut off must not look as if it had ended.
		panic("larder: the request cannot be read: " + err.Error())
	}
	request := Request{os.Getenv("REQUEST_METHOD"), os.Getenv("PATH_INFO"), os.Getenv("QUERY_STRING"), map[string]string{}, body}
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		header, isHeader := strings.CutPrefix(name, "HTTP_")
		if isHeader || name == "CONTENT_TYPE" || name == "CONTENT_LENGTH" {
			request.Headers[strings.ToLower(strings.ReplaceAll(header, "_", "-"))] = value
		}
	}
	if _, err := answer.Write(handle(request).bytes()); err != nil {
		panic("larder: the answer cannot be written: " + err.Error())
	}
}

// bytes is the response as CGI has it.
func (it Response) bytes() []byte {
	if it.Status == 0 {
		it.Status = 204
	}
	said := fmt.Appendf(nil, "Status: %d\n", it.Status)
	add := func(name, value string) {
		if strings.ContainsAny(name, ":\r\n") || strings.ContainsAny(value, "\r\n") {
			panic(fmt.Sprintf("larder: the header %q has a line break in it", name))
		}
		said = fmt.Appendf(said, "%s: %s\n", name, value)
	}
	if it.ContentType != "" {
		add("Content-Type", it.ContentType)
	}
	names := make([]string, 0, len(it.Headers))
	for name := range it.Headers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		add(name, it.Headers[name])
	}
	return append(append(said, '\n'), it.Body...)
}
