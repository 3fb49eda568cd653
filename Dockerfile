# The library's programs, lendingd and getbooks, in an image with nothing else.
#
#   docker build -t library --build-arg VERSION="$(git describe --tags --always)" .
#   docker run --rm library --address redis://cellar:6379 worker1
#   docker run --rm --entrypoint getbooks library card user1 --address redis://cellar:6379
#
# compose.yaml runs a whole library of it.

FROM golang:1.26 AS build
WORKDIR /src
# The modules change seldom, so they are a layer of their own.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
RUN CGO_ENABLED=0 go build -trimpath \
    -ldflags "-s -w -X example.com/library/internal/cli.version=$VERSION" \
    -o /out/ ./cmd/lendingd ./cmd/getbooks

# Static programs need no system. The certificates are for rediss:// addresses.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/ /usr/local/bin/
ENV PATH=/usr/local/bin
USER 65532:65532
ENTRYPOINT ["lendingd"]
