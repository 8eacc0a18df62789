# What the real ldirectord makes of files: `perl real.pl PROGRAM < list of files` prints a JSON
# array. The program's own subroutines are called; only its main part is left out, and what it
# writes to its log. Each file in a child of its own, for an error ends the program.
# A line is FILE, or FILE, a tab and up|down: then every server is so, and the start is run, too,
# with the ipvsadm of the environment's IPVSADM. ANSWERS is a directory for what children print.
use strict;
use warnings;
use JSON::PP;

our ($CONFIG, $CFGNAME, $RUNPID, $DAEMON_STATUS, $DAEMON_STATUS_STARTING, $HOSTNAME, $DEBUG);
our (@VIRTUAL, %LD_INSTANCE, $IPVSADM);
our ($AUTOCHECK, $CALLBACK, $CHECKCOUNT, $CHECKINTERVAL, $CHECKTIMEOUT, $CLEANSTOP, $EMAILALERT,
	$EMAILALERTFREQ, $EMAILALERTFROM, $EMAILALERTSTATUS, $FAILURECOUNT, $FALLBACK, $FALLBACK6,
	$FALLBACKCOMMAND, $FORKING, $LDIRLOG, $MAINTDIR, $NEGOTIATETIMEOUT, $QUIESCENT,
	$READDQUIESCENT, $SMTP, $SUPERVISED);

my $json = JSON::PP->new->canonical->latin1;

sub slurp {
	my ($file) = @_;
	open(my $stream, '<', $file) or die "$file: $!";
	local $/;
	return scalar <$stream>;
}

my $source = slurp($ARGV[0]);
$source =~ s/^# command line options\n.*?^# functions\n//ms or die "another ldirectord";
{
	no strict;
	no warnings;
	eval $source;
	die $@ if $@;
	*main::ld_log = sub { return 0; };
}
$DAEMON_STATUS = $DAEMON_STATUS_STARTING;
$HOSTNAME = $ENV{HOSTNAME};
$IPVSADM = $ENV{IPVSADM};
$RUNPID = "/nonexistent/ldirectord";
$DEBUG = 0;

sub globals {
	return {
		autoreload => $AUTOCHECK, callback => $CALLBACK, checkcount => $CHECKCOUNT,
		checkinterval => $CHECKINTERVAL, checktimeout => $CHECKTIMEOUT,
		cleanstop => $CLEANSTOP, emailalert => $EMAILALERT,
		emailalertfreq => $EMAILALERTFREQ, emailalertfrom => $EMAILALERTFROM,
		emailalertstatus => $EMAILALERTSTATUS, execute => [sort keys %LD_INSTANCE],
		failurecount => $FAILURECOUNT, fallback => $FALLBACK, fallback6 => $FALLBACK6,
		fallbackcommand => $FALLBACKCOMMAND, fork => $FORKING, logfile => $LDIRLOG,
		maintenancedir => $MAINTDIR, negotiatetimeout => $NEGOTIATETIMEOUT,
		quiescent => $QUIESCENT, readdquiescent => $READDQUIESCENT, smtp => $SMTP,
		supervised => $SUPERVISED,
	};
}

sub structure {
	read_config();
	ld_setup();
	my $reals = 0;
	for my $virtual (@VIRTUAL) {
		$$virtual{id} = get_virtual_id_str($virtual);
		for my $real (@{$$virtual{real}}) {
			$$real{id} = get_real_id_str($real, $virtual);
			$reals++;
		}
	}
	return {
		globals => globals(), virtual => \@VIRTUAL,
		counts => { virtuals => scalar(@VIRTUAL), reals => $reals },
	};
}

sub with_every_server {
	my ($state) = @_;
	no warnings 'redefine';
	*main::_check_real = sub {
		my ($virtual, $real) = @_;
		my $type = $$virtual{checktype};
		return if $type eq "off";
		my $unasked = $type eq "on" || ($type eq "negotiate" && $$virtual{service} eq "none");
		service_set($virtual, $real, $unasked ? "up" : $state);
	};
	ld_setup();
	ld_start();
}

my @results;
while (my $line = <STDIN>) {
	chomp $line;
	my ($file, $state) = split(/\t/, $line);
	$CONFIG = $file;
	$CFGNAME = $file =~ s/.*\///r;
	my $answer = "$ENV{ANSWERS}/answer";
	my $child = fork() // die "fork: $!";
	if ($child == 0) {
		open(STDERR, '>', "$answer.err") or die;
		open(STDOUT, '>', "$answer.out") or die;
		STDERR->autoflush(1);
		if (defined $state) {
			read_config();
			with_every_server($state);
			exit(0);
		}
		my $structure = structure();
		print $json->encode($structure);
		exit(3);
	}
	waitpid($child, 0);
	my $output = slurp("$answer.out");
	push @results, {
		file => $file, exit => $? >> 8, messages => slurp("$answer.err"),
		parsed => $output =~ /^\{/ ? $json->decode($output) : undef, pid => $child,
	};
}
print $json->encode(\@results);
