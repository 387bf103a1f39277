/* The smallest program there is: what starting and ending it costs is the runtime's own. */
int main(void)
{
	return 0;
}
