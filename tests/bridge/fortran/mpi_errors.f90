! SPDX-License-Identifier: Apache-2.0
!> Errors of an MPI host; the second argument says which.
program mpi_errors
   use, intrinsic :: iso_fortran_env, only: real64
   use mpi_f08, only: MPI_Barrier, MPI_COMM_NULL, MPI_Comm_rank, MPI_COMM_WORLD, MPI_Finalize, MPI_Init
   use coupler_plugin, only: coupler_t
   use testing, only: argument, report_error
   implicit none
   type(coupler_t) :: coupler
   real(real64), target :: tas(1) = 1.0_real64, lai(1)
   integer :: rank, rc

   if (argument(2) == 'before_mpi_init') then
      call init_only(MPI_COMM_WORLD%mpi_val)
      stop
   end if
   call MPI_Init()
   call MPI_Comm_rank(MPI_COMM_WORLD, rank)
   select case (argument(2))
   case ('init')
      call init_only(MPI_COMM_WORLD%mpi_val)
   case ('null_communicator')
      call init_only(MPI_COMM_NULL%mpi_val)
   case ('no_communicator')
      call coupler%init(argument(1), start='2001-01-01', dt=3600.0d0, rc=rc)
      if (rank == 0) call report_error('rc', coupler, rc)
   case ('all_ranks')
      call start()
      call coupler%bind('tass', tas)
   case ('one_rank')
      call start()
      if (rank == 1) call coupler%bind('tass', tas)
      call MPI_Barrier(MPI_COMM_WORLD) ! the others wait where they would wait for ever
   case ('after_mpi_finalize')
      call start()
      call coupler%bind('tas', tas)
      call coupler%bind('lai', lai)
      call coupler%step()
      call MPI_Finalize()
      call coupler%finalize(rc=rc)
      if (rank == 0) call report_error('rc', coupler, rc)
      stop
   end select
   call MPI_Finalize()

contains

   subroutine init_only(comm)
      integer, intent(in) :: comm

      call coupler%init(argument(1), comm=comm, start='2001-01-01', dt=3600.0d0, rc=rc)
      call report_error('rc', coupler, rc)
   end subroutine init_only

   subroutine start()
      call coupler%init(argument(1), comm=MPI_COMM_WORLD%mpi_val, start='2001-01-01', dt=3600.0d0)
      call coupler%set_cells(rank + 1, tas(1), tas(1))
   end subroutine start

end program mpi_errors
