module lending

go 1.21
