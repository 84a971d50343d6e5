// Visits a URL with net/http: visit URL AUTHORIZATION [FILE]. Prints the status and the answer.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
)

func visit(url, authorization string, file []string) error {
	method, body := http.MethodGet, io.Reader(nil)
	if len(file) > 0 {
		opened, err := os.Open(file[0])
		if err != nil {
			return err
		}
		defer opened.Close()
		method, body = http.MethodPost, opened
	}
	request, err := http.NewRequest(method, url, body)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", authorization)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	fmt.Printf("%d\n%s\n", answer.StatusCode, text)
	return nil
}

func main() {
	if err := visit(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
