package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/client"
)

// A person registers, opens a direct conversation and stays connected. Events come one at a time; a message is
// sent again by itself until it is answered.
func ExampleClient() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	api := client.NewAPI(client.APIConfig{URL: "http://127.0.0.1:8080"})
	if _, err := api.Register(ctx, "alice", "alice@example.org", "alice has a horse"); err != nil {
		fmt.Println(err)
		return
	}
	found, err := api.SearchUsers(ctx, "bob")
	if err != nil || len(found) == 0 {
		fmt.Println("nobody is called bob", err)
		return
	}
	direct, err := api.CreateDirect(ctx, found[0].ID)
	if err != nil {
		fmt.Println(err)
		return
	}
	live, err := client.New(client.Config{
		URL: "http://127.0.0.1:8080", Tokens: api, History: api, AutoDelivered: true,
		OnEvent: func(e client.Event) {
			switch e := e.(type) {
			case client.MessageReceived:
				fmt.Println(e.Record.SenderID, e.Record.Text)
			case client.Answered:
				fmt.Println("sent:", e.Sent.Seq, e.Err)
			}
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := live.Send(direct.ID, "Hello, Bob", 0); err != nil {
		fmt.Println(err) // the outbox is full
	}
	if err := live.Run(ctx); err != nil {
		fmt.Println(err) // the session was revoked
	}
}

// A refusal has the protocol's code, and the time after which another try makes sense.
func ExampleAPI_Login() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = fmt.Fprint(w, `{"code":"rate_limited","detail":"too many logins","retry_after_ms":2000}`)
	}))
	defer server.Close()
	api := client.NewAPI(client.APIConfig{URL: server.URL, HTTP: server.Client()})
	_, err := api.Login(context.Background(), "alice", "alice has a horse")
	if refusal, ok := errors.AsType[*chat.Error](err); ok {
		fmt.Println(refusal.Kind, refusal.RetryAfter)
	}
	// Output: rate_limited 2s
}

// Everything since the beginning, page by page.
func ExampleAPI_Page() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("after") == "0" {
			_, _ = fmt.Fprint(w, `{"messages":[{"seq":1,"n":1,"id":"1","kind":"message","text":"first"}],"from_seq":1,"to_seq":1,"more_after":true}`)
			return
		}
		_, _ = fmt.Fprint(w, `{"messages":[{"seq":2,"n":2,"id":"2","kind":"message","text":"last"}],"from_seq":2,"to_seq":2}`)
	}))
	defer server.Close()
	api := client.NewAPI(client.APIConfig{URL: server.URL, HTTP: server.Client()})
	api.Adopt(client.Account{AccessToken: "kept from an earlier run", ExpiresIn: 600})
	for at := chat.Position(0); ; {
		page, err := api.Page(context.Background(), "gaaaaaaaaaaaaaaaaaaaaaaaaaa", client.PageQuery{After: &at})
		if err != nil {
			fmt.Println(err)
			return
		}
		records, err := page.Records()
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, r := range records {
			fmt.Println(r.Seq, r.Text)
		}
		if !page.MoreAfter {
			return
		}
		at = chat.Position(page.ToSeq)
	}
	// Output:
	// 1 first
	// 2 last
}
