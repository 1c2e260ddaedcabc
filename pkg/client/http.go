package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/parley-chat/parley/pkg/chat"
)

const (
	mostAnswer     = 256 << 20 // bytes of one REST answer
	requestTimeout = 15 * time.Second
)

// problem is the part of an RFC 9457 document that parley fills in.
type problem struct {
	Code         chat.Kind `json:"code"`
	Title        string    `json:"title"`
	Detail       string    `json:"detail"`
	RetryAfterMS int64     `json:"retry_after_ms"`
}

// call does one request. in nil sends no body, out nil ignores the answer. Refusals are *chat.Error. Whether
// the request took effect is unknown when the error is not.
func (a *API) call(ctx context.Context, method, path, token string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		body = bytes.NewReader(raw)
	}
	request, err := http.NewRequestWithContext(ctx, method, a.base+"/api/v1/"+path, body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if in != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := a.http.Do(request)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer response.Body.Close() //nolint:errcheck // read to its end
	raw, err := io.ReadAll(io.LimitReader(response.Body, mostAnswer))
	if err != nil {
		return fmt.Errorf("%s %s: read answer: %w", method, path, err)
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %w", method, path, refusal(response, raw))
	}
	if out == nil || len(raw) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("%s %s: decode answer: %w", method, path, err)
	}
	return nil
}

func refusal(response *http.Response, raw []byte) error {
	var p problem
	if err := json.Unmarshal(raw, &p); err != nil || p.Code == "" {
		p = problem{Code: kindOfStatus(response.StatusCode), Title: response.Status}
	}
	e := &chat.Error{Kind: p.Code, Message: p.Detail, RetryAfter: time.Duration(p.RetryAfterMS) * time.Millisecond}
	if e.Message == "" {
		e.Message = p.Title
	}
	if seconds, err := time.ParseDuration(response.Header.Get("Retry-After") + "s"); err == nil && e.RetryAfter == 0 {
		e.RetryAfter = seconds
	}
	return e
}

// kindOfStatus is for answers that are not parley's own, a proxy's above all.
func kindOfStatus(status int) chat.Kind {
	for _, k := range chat.Kinds() {
		if k.Rule().HTTPStatus == status {
			return k
		}
	}
	if status == http.StatusBadGateway || status == http.StatusRequestTimeout {
		return chat.Unavailable
	}
	return chat.Internal
}

// refused reports whether the server itself said no, and whether saying it again may help.
func refused(err error) (e *chat.Error, retry bool) {
	e, ok := errors.AsType[*chat.Error](err)
	if !ok {
		return nil, true
	}
	return e, e.Kind.Rule().Retryable
}

func trimBase(url string) string {
	url = strings.TrimRight(url, "/")
	if rest, ok := strings.CutPrefix(url, "ws"); ok && strings.Contains(rest, "://") {
		return "http" + rest
	}
	return url
}

func unmarshal(raw []byte, out any) error { return json.Unmarshal(raw, out) }
