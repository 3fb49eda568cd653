package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"example.com/library/acl"
	"example.com/library/gateway"
	"example.com/library/internal/cli"
	"example.com/library/library"

	"github.com/charmbracelet/log"
	urfave "github.com/urfave/cli/v2"
)

// httpAddress is where the gateway listens unless it is told where.
const httpAddress = "localhost:8080"

func gatewayCommand() *urfave.Command {
	return &urfave.Command{
		Name:  "gateway",
		Usage: "show the library as a page, without running a service",
		Description: `Without --http it listens at ` + httpAddress + `. Beyond this machine it needs a token, which
whoever may see who has what and lend books shows: --http-token-file.

Examples:
   lendingd gateway                                       the page of the library "main"
   lendingd gateway --http localhost:0                    at a free port; the log says which
   lendingd gateway --library main,north                  two libraries, ?library=north
   lendingd gateway --http :443 --http-token-file token --http-host books.example.com \
      --http-cert cert.pem --http-key key.pem             for others, with TLS`,
		Flags:  append(append(gatewayFlags(), logFlags()...), cli.SeveralConnectionFlags()...),
		Action: runGateway,
	}
}

func gatewayFlags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringFlag{Name: "http", EnvVars: []string{"LENDING_HTTP"}, Category: "Page", Usage: "show the library as a page at `ADDRESS`, such as " + httpAddress},
		&urfave.StringFlag{Name: "http-token-file", EnvVars: []string{"LENDING_HTTP_TOKEN_FILE"}, Category: "Page", Usage: "who shows the token in `FILE`, which only you may read (chmod 600), is staff; needed beyond localhost"},
		&urfave.StringSliceFlag{Name: "http-host", EnvVars: []string{"LENDING_HTTP_HOST"}, Category: "Page", Usage: "a `NAME` by which browsers may ask for the page; with commas, or repeated, several names", DefaultText: "localhost", KeepSpace: true},
		&urfave.StringFlag{Name: "http-cert", EnvVars: []string{"LENDING_HTTP_CERT"}, Category: "Page", Usage: "serve with TLS, by the certificate in `FILE` (PEM)"},
		&urfave.StringFlag{Name: "http-key", EnvVars: []string{"LENDING_HTTP_KEY"}, Category: "Page", Usage: "its key, in `FILE` (PEM), which only you may read (chmod 600)"},
	}
}

// runGateway shows libraries until it is told to stop.
func runGateway(c *urfave.Context) error {
	if _, err := cli.Names(c, 0, 0); err != nil {
		return err
	}
	if err := checkLogFlags(c); err != nil {
		return err
	}
	if !c.IsSet("http") {
		if err := c.Set("http", httpAddress); err != nil {
			return err
		}
	}
	logger, dropped, stopLogging := newLogger(c)
	defer stopLogging()
	told, err := newFigures(c, nil, dropped)
	if err != nil {
		return err
	}
	defer told.close()
	page, err := openGateway(c, logger, told)
	if err != nil {
		return err
	}
	defer page.close()
	return page.serve(c.Context)
}

// A page is a gateway, and where it listens; without --http it is nothing.
type page struct {
	listener    net.Listener
	server      *gateway.Server
	connections []cli.Connection
}

// openGateway listens where --http says.
func openGateway(c *urfave.Context, logger *log.Logger, told *figures) (*page, error) {
	address := c.String("http")
	if address == "" {
		for _, name := range []string{"http-token-file", "http-host", "http-cert", "http-key"} {
			if c.IsSet(name) {
				return nil, cli.UsageError{Message: "--" + name + " needs --http, the address of the page"}
			}
		}
		return &page{}, nil
	}
	config := gateway.Config{Log: logger, Metrics: told.metrics, Ready: told.ready, Certificate: c.String("http-cert"), Key: c.String("http-key"), Hosts: listed(c.StringSlice("http-host"))}
	if (config.Certificate == "") != (config.Key == "") {
		return nil, cli.UsageError{Message: "--http-cert and --http-key go together"}
	}
	if config.Key != "" {
		if err := cli.CheckSecret("key", config.Key); err != nil {
			return nil, err
		}
	}
	var err error
	if file := c.String("http-token-file"); file != "" {
		if config.Token, err = cli.ReadPassword(file); err != nil {
			return nil, err
		}
	}
	p := &page{}
	if p.connections, err = cli.ConnectEach(c, acl.Gateway); err != nil {
		return nil, err
	}
	for _, connection := range p.connections {
		config.Libraries = append(config.Libraries, gateway.Library{Redis: connection.Redis, Keys: connection.Keys})
	}
	if p.server, err = gateway.New(config); err != nil {
		p.close()
		return nil, fmt.Errorf("show the page: %w", err)
	}
	if p.listener, err = net.Listen("tcp", address); err != nil {
		p.close()
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("something already listens at %s: choose another port for the page, as in --http localhost:8081", library.Printable(address))
		}
		return nil, fmt.Errorf("show the page at %s: %w", library.Printable(address), err)
	}
	return p, nil
}

func (p *page) serve(ctx context.Context) error {
	if p.server == nil {
		return nil
	}
	err := p.server.Serve(ctx, p.listener)
	if errors.Is(err, gateway.ErrOpen) {
		return cli.UsageError{Message: "beyond localhost anybody could see who reads what, and lend books: give --http-token-file, or --http with localhost"}
	}
	if err != nil {
		return fmt.Errorf("show the page at %s: %w", p.listener.Addr(), err)
	}
	return nil
}

func (p *page) close() {
	if p.listener != nil {
		_ = p.listener.Close() // a second time after serve, which does nothing
	}
	if p.server != nil {
		_ = p.server.Close()
	}
	for _, connection := range p.connections {
		_ = connection.Redis.Close()
	}
}

// listed takes apart texts of names with commas between.
func listed(texts []string) []string {
	var names []string
	for name := range strings.SplitSeq(strings.Join(texts, ","), ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}
