#!/bin/sh
echo "hello from demo"
