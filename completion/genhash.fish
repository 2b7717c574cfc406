# SPDX-License-Identifier: Apache-2.0
# Completion of genhash for fish.

complete -c genhash -f
complete -c genhash -s S -l use-ssl -d 'fetch over TLS'
complete -c genhash -s I -l use-sni -d 'name the server in the handshake'
complete -c genhash -s s -l server -x -d 'address of the server'
complete -c genhash -s p -l port -x -d 'port of the server'
complete -c genhash -s u -l url -x -d 'what to fetch'
complete -c genhash -s V -l use-virtualhost -x -d 'send this host'
complete -c genhash -s v -l verbose -d 'show the answer and the time taken'
complete -c genhash -s h -l help -d 'print the options'
complete -c genhash -s m -l fwmark -x -d 'firewall mark of the packets'
complete -c genhash -s P -l protocol -xa '1.0 1.0c 1.1' -d 'protocol of the request'
complete -c genhash -s t -l timeout -x -d 'seconds without progress'
