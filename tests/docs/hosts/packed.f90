! SPDX-License-Identifier: Apache-2.0
! A host with packed cells in real64 on MPI ranks, of which the second has none; coupled as docs/coupling_a_host.md says.
program packed
   use, intrinsic :: iso_fortran_env, only: real64
   use mpi, only: mpi_init, mpi_finalize, mpi_comm_rank, MPI_COMM_WORLD
   use coupler_plugin, only: coupler_t
   implicit none
   type(coupler_t) :: coupler
   integer, allocatable :: id(:)
   real(real64), allocatable, target :: lon(:), lat(:), area(:), t2m(:), swdown(:), lai(:)
   integer :: rank, n, i, istep, ierr

   call mpi_init(ierr)
   call mpi_comm_rank(MPI_COMM_WORLD, rank, ierr)
   n = merge(0, 5, rank == 1)
   allocate (id(n), lon(n), lat(n), area(n), t2m(n), swdown(n), lai(n))
   do i = 1, n
      id(i) = 10*rank + i
   end do
   lon = id
   lat = id
   area = 1e10_real64
   swdown = 200
   lai = -1
   call couple(MPI_COMM_WORLD, id, lon, lat, area, t2m, swdown, lai)
   do istep = 1, 4
      t2m = 280 + 0.1_real64*id + merge(-1, 1, mod(istep, 2) == 0)   ! the mean of an hour is 280 + 0.1*id
      call coupler%step()
   end do
   call coupler%finalize()
   print '(a, i0, a, l1)', 'packed', rank, '=', all(abs(lai - (0.01*(280 + 0.1*id - 273.15) + 0.2)) < 1e-5)
   call mpi_finalize(ierr)
contains
   include 'packed.inc'
end program packed
