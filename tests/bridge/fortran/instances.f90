! SPDX-License-Identifier: Apache-2.0
!> Hosts in one job: the ranks split by the number that the launch line gave them, or else into halves. A host whose number
!> is that of a file `broken_<number>` fails.
program instances
   use, intrinsic :: iso_c_binding, only: c_char, c_int, c_null_char
   use, intrinsic :: iso_fortran_env, only: real64
   use mpi_f08, only: MPI_Comm, MPI_Comm_rank, MPI_Comm_size, MPI_Comm_split, MPI_COMM_WORLD, MPI_Finalize, &
                      MPI_Init
   use coupler_plugin, only: coupler_t
   use testing, only: argument, report
   implicit none
   interface
      integer(c_int) function setenv(name, value, overwrite) bind(c)
         import :: c_char, c_int
         character(kind=c_char), intent(in) :: name(*), value(*)
         integer(c_int), value :: overwrite
      end function setenv
   end interface
   type(coupler_t) :: coupler
   type(MPI_Comm) :: comm
   real(real64), target :: tas(1), lai(1)
   character(len=4) :: number
   integer :: rank, ranks, instance, own, status
   logical :: is_broken

   call MPI_Init()
   call MPI_Comm_rank(MPI_COMM_WORLD, rank)
   call MPI_Comm_size(MPI_COMM_WORLD, ranks)
   call get_environment_variable('COUPLER_INSTANCE', number, status=status)
   if (status == 0) then
      read (number, *) instance
   else
      instance = rank/(ranks/2) + 1
   end if
   call MPI_Comm_split(MPI_COMM_WORLD, instance, rank, comm)
   call MPI_Comm_rank(comm, own)
   write (number, '(i0)') instance
   if (setenv('COUPLER_INSTANCE'//c_null_char, trim(number)//c_null_char, 1_c_int) /= 0) error stop 'setenv'

   inquire (file='broken_'//trim(number), exist=is_broken)
   tas = 100*instance + own
   call coupler%init(argument(1), comm=comm%mpi_val, start='2001-01-01', dt=3600.0d0)
   call coupler%set_cells([own + 1], tas*0, tas*0)
   call coupler%bind('tas', tas)
   call coupler%bind('lai', lai)
   call coupler%step()
   if (is_broken) error stop 7
   call coupler%finalize()
   if (rank == 0) call report('ended', 1)
   call MPI_Finalize()
end program instances
