module cgi

go 1.27
