# SPDX-License-Identifier: Apache-2.0
# Completion of keepalived for fish.

complete -c keepalived -f
complete -c keepalived -s f -l use-file -rF -d 'read this configuration'
complete -c keepalived -s C -l check -d 'run the health checkers and the balancer only'
complete -c keepalived -s l -l log-console -d 'log to standard error'
complete -c keepalived -s D -l log-detail -d 'log more'
complete -c keepalived -s S -l log-facility -xa '0 1 2 3 4 5 6 7' -d 'log to syslog as local0 to local7'
complete -c keepalived -s I -l dont-release-ipvs -d 'leave the tables of the kernel at the end'
complete -c keepalived -s V -l dont-release-vrrp -d 'leave the addresses of virtual routers at the end'
complete -c keepalived -s n -l dont-fork -d 'stay in the foreground'
complete -c keepalived -s p -l pid -rF -d 'pid file'
complete -c keepalived -s t -l config-test -d 'check the configuration'
complete -c keepalived -s P -l vrrp -d 'run VRRP only'
complete -c keepalived -s B -l no_bfd -d 'do not run BFD'
complete -c keepalived -l all -d 'run every child process'
complete -c keepalived -s R -l dont-respawn -d 'end when a child process dies'
complete -c keepalived -s r -l vrrp_pid -rF -d 'pid file of the VRRP child process'
complete -c keepalived -s c -l checkers_pid -rF -d 'pid file of the checkers child process'
complete -c keepalived -s b -l bfd_pid -rF -d 'pid file of the BFD child process'
complete -c keepalived -l signum -xa 'STOP RELOAD DATA STATS STATS_CLEAR JSON' -d 'print the number of a signal'
complete -c keepalived -s v -l version -d 'print the version'
complete -c keepalived -s h -l help -d 'print the options'
