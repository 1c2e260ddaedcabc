package main

import (
	"fmt"
	"testing"
	"time"
)

func TestZZ(t *testing.T) { fmt.Println(time.Now()); p := serve(t); _ = p; fmt.Println(time.Now()); fmt.Println(p.out.String()) }
