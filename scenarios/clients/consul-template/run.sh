#!/bin/sh
# Runs bao agent and consul-template beside each other, in the folder with their configuration; the
# argument is the folder with both programs. Ends when one of them ends, and with SIGTERM.
"$1/bao" agent -config=agent.hcl &
agent=$!
template=
trap 'kill $agent $template 2>/dev/null; wait; exit 0' TERM INT
until [ -s token ]; do
    kill -0 $agent 2>/dev/null || exit 1
    sleep 0.1
done
"$1/consul-template" -config template.hcl &
template=$!
while kill -0 $agent 2>/dev/null && kill -0 $template 2>/dev/null; do
    sleep 0.5 &
    wait $!
done
kill $agent $template 2>/dev/null
wait
exit 1
