// Answers as a CGI program, with a heap that grows beyond what a program begins with, and is used to its last byte.
package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
)

const (
	pieces = 40
	bytes  = 1 << 20
)

func main() {
	body, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	var all [][]byte
	for piece := range pieces {
		part := make([]byte, bytes)
		for at := range part {
			if part[at] != 0 {
				panic(fmt.Sprintf("piece %d is not zero at %d", piece, at))
			}
			part[at] = byte(piece)
		}
		all = append(all, part)
		fmt.Fprintln(os.Stderr, piece)
	}
	runtime.GC()
	for piece, part := range all {
		for at := range part {
			if part[at] != byte(piece) {
				panic(fmt.Sprintf("piece %d was overwritten at %d", piece, at))
			}
		}
	}
	fmt.Printf("Content-Type: text/plain\n\n%s %d %s", os.Getenv("REQUEST_METHOD"), len(all), body)
}
