// A bare relay in Go: what any router costs there, for bench_router.py --go.
// It hands each message on as one call of its own and the answer back, and does nothing else.
//
//	go_relay PORT POD_PORT
package main

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
)

const (
	infer      = "/home_native.v1.Inference/Infer"
	maxMessage = 64 << 20
)

// raw leaves messages as the bytes they are.
type raw struct{}

func (raw) Name() string                       { return "proto" }
func (raw) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = append([]byte(nil), data...); return nil }

var both = &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}

// relay answers every message of a stream by a call to the pod.
func relay(pod *grpc.ClientConn) grpc.StreamHandler {
	return func(_ any, stream grpc.ServerStream) error {
		for {
			var request []byte
			if err := stream.RecvMsg(&request); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			answer, err := ask(stream.Context(), pod, request)
			if err != nil {
				return err
			}
			if err := stream.SendMsg(&answer); err != nil {
				return err
			}
		}
	}
}

func ask(ctx context.Context, pod *grpc.ClientConn, request []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	call, err := pod.NewStream(ctx, both, infer)
	if err != nil {
		return nil, err
	}
	if err := call.SendMsg(&request); err != nil {
		return nil, err
	}
	if err := call.CloseSend(); err != nil {
		return nil, err
	}
	var answer []byte
	err = call.RecvMsg(&answer)
	return answer, err
}

func main() {
	encoding.RegisterCodec(raw{})
	pod, err := grpc.NewClient(
		"127.0.0.1:"+os.Args[2],
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
	)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(
		grpc.UnknownServiceHandler(relay(pod)), grpc.MaxRecvMsgSize(maxMessage))
	log.Fatal(server.Serve(listener))
}
